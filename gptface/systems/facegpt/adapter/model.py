"""A causal or vision–language model of ``transformers`` that can also give faces in 3D."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList, PreTrainedModel, SuppressTokensLogitsProcessor

from gptface.errors import InputError
from gptface.morphable import FaceParameters, MorphableModel
from gptface.systems.facegpt.adapter.base_description import describe_base
from gptface.systems.facegpt.adapter.emission import FaceOnce
from gptface.systems.facegpt.adapter.low_rank import with_lora
from gptface.systems.facegpt.adapter.rows import FaceRows
from gptface.systems.facegpt.adapter.states import HeadStates
from gptface.systems.facegpt.adapter.token import (
    add_face_token,
    check_base,
    make_room,
    picture_tokens,
    text_tokenizer,
)
from gptface.systems.facegpt.decoding import Emission
from gptface.systems.facegpt.head import FaceHead
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.morphable_reference import open_morphable

__all__ = ["AdapterOutput", "FaceAdapter", "Generated"]

NO_TARGET = -100
"""The label of tokens that nobody has to say, as everywhere in ``transformers``."""


@dataclass(frozen=True)
class AdapterOutput:
    """What one pass over whole conversations gives.

    Attributes:
        logits: ``(T, vocabulary)`` at the places that predict a token with a label; none without labels.
        labels: ``(T,)`` those tokens.
        label_rows: ``(T,)`` the conversation in the batch that each belongs to.
        states: ``(F, C)`` hidden states at every ``<FACE>``, row after row.
        numbers: ``(F, size)`` float32, what :class:`FaceLayout` reads.
        face_rows: ``(F,)`` the conversation that each face belongs to.
    """

    logits: Tensor
    labels: Tensor
    label_rows: Tensor
    states: Tensor
    numbers: Tensor
    face_rows: Tensor


@dataclass(frozen=True)
class Generated:
    """Answers that were written.

    Attributes:
        answers: ``(B, S)`` token ids after the prompt; those after the end of an answer are padding.
        numbers: ``(F, size)`` of every ``<FACE>`` in them, row after row.
        face_rows: ``(F,)`` the answer that each belongs to.
    """

    answers: Tensor
    numbers: Tensor
    face_rows: Tensor


class FaceAdapter(nn.Module):
    """The base with a token ``<FACE>``, a head that reads a face off the hidden state there, and LoRA.

    The base is changed in place: its weights are frozen, its tokenizer has one more token, its vocabulary is enlarged
    where the token has no place in it, hooks put in the token's rows, and LoRA's layers stand around its own. Training
    concerns the head, the rows and LoRA only. Load the base in the dtype that it shall compute in; what is trained
    stays float32, so move the adapter to another device, not to another dtype.

    Args:
        base: a model that predicts the next token (``AutoModelForCausalLM``, ``AutoModelForImageTextToText``).
        processor: its tokenizer, or for pictures its processor.
        morphable: the face model, or its name or path (:func:`gptface.morphable.load_morphable_model`).
        lora: a ``peft.LoraConfig``; ``True`` for :func:`default_lora`; ``None`` trains head and rows alone; or the
            folder of a LoRA that was saved.
        identity_modes, expression_modes, albedo_modes: see :class:`FaceLayout`.
        head_size: width inside the head; by default the width of the base.

    Attributes:
        model: the base, in a ``PeftModel`` where there is LoRA.
        number: id of ``<FACE>``.
        layout, head, morphable: what makes a face of a hidden state.

    Raises:
        InputError: a base without a language head, a tokenizer of another model, a face model that cannot be read.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        processor: Any,
        morphable: MorphableModel | str | os.PathLike[str],
        *,
        lora: Any = True,
        identity_modes: int | None = None,
        expression_modes: int | None = None,
        albedo_modes: int | None = None,
        head_size: int | None = None,
    ) -> None:
        super().__init__()
        check_base(base)
        if isinstance(morphable, MorphableModel):
            self.morphable_source, self.morphable = None, morphable
        else:
            self.morphable_source, self.morphable = os.fspath(morphable), open_morphable(morphable)
        self.layout = FaceLayout(self.morphable, identity_modes, expression_modes, albedo_modes)
        self.processor = processor
        self.tokenizer = text_tokenizer(processor)
        self.number = add_face_token(processor, base.config)
        self.described = describe_base(base)
        make_room(base, self.number)
        base.requires_grad_(False)
        # Before the rows: their hooks then stand outside whatever LoRA puts around embedding and head.
        self.model: Any = base if lora is None or lora is False else with_lora(base, lora)
        self.rows = FaceRows(base, self.number, len(self.tokenizer))
        width = base.get_output_embeddings().weight.shape[1]
        self.head = FaceHead(width, self.layout.size, head_size)
        for part in (self.head, self.morphable):  # not the base, which may lie on several devices
            part.to(device=self.rows.input.device)
        self.train(base.training)

    @property
    def base(self) -> Any:
        """The model of ``transformers``, out of its ``peft`` wrapping."""
        return self.model.get_base_model() if self.has_lora else self.model

    @property
    def has_lora(self) -> bool:
        """Whether there are LoRA layers."""
        return hasattr(self.model, "peft_config")

    @property
    def device(self) -> torch.device:
        """Where tokens go in."""
        return self.base.get_input_embeddings().weight.device

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """What an optimiser gets: head, rows, LoRA."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def faces(self, states: Tensor) -> Tensor:
        """Numbers ``(F, size)`` in float32 of hidden states ``(F, C)``."""
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.to(self.head.first.weight)).float()

    def parameters_of(self, numbers: Tensor) -> FaceParameters:
        """The faces that numbers stand for."""
        return self.layout.parameters(numbers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **inputs: Any
    ) -> AdapterOutput:
        """Read whole conversations.

        Args:
            input_ids: ``(B, S)``, padded at either side.
            attention_mask: ``(B, S)``, 0 at padding.
            labels: ``(B, S)``: the token itself where the assistant speaks, −100 elsewhere.
            inputs: what the base takes besides: ``pixel_values`` …
        """
        attended = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        faces = (input_ids == self.number) & attended.bool()
        # Position s predicts the token after it.
        predicts = torch.zeros_like(faces)
        if labels is not None:
            predicts[:, :-1] = labels[:, 1:] != NO_TARGET
        columns = (faces | predicts).any(0).nonzero()[:, 0]
        options = {**self._positions(attended, inputs), **self._kept(columns)}
        head = self.base.get_output_embeddings()
        with HeadStates(head) as caught:
            logits: Tensor = self.base(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **inputs, **options
            ).logits
        states = caught.calls[-1]
        faces, predicts = faces.to(states.device), predicts.to(states.device)  # a base may lie on several devices
        columns = columns.to(states.device)
        if "logits_to_keep" in options:
            faces, predicts = faces[:, columns], predicts[:, columns]
            following = None if labels is None else labels.roll(-1, 1)[:, columns.to(labels.device)]
        else:
            following = None if labels is None else labels.roll(-1, 1)
        found = states[faces]
        return AdapterOutput(
            logits=logits[predicts],
            labels=input_ids.new_zeros(0) if following is None else following.to(states.device)[predicts],
            label_rows=predicts.nonzero()[:, 0],
            states=found,
            numbers=self.faces(found),
            face_rows=faces.nonzero()[:, 0],
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        max_new_tokens: int = 64,
        emission: Emission = "free",
        at_once: bool = False,
        **options: Any,
    ) -> Generated:
        """Write answers after prompts, with a KV cache, and read the faces in them.

        Args:
            input_ids: ``(B, S)`` prompts, padded on the left.
            attention_mask: ``(B, S)``, 0 at padding.
            max_new_tokens: longest answer.
            emission: who decides on ``<FACE>``: the model (``"free"``), or it comes exactly once in every answer
                (``"forced"``, :class:`FaceOnce`), or never (``"forbidden"``).
            at_once: where it is forced, as the first token.
            options: pictures, and whatever else the base's ``generate`` takes (``do_sample``, ``num_beams`` …).

        Raises:
            InputError: prompts padded on the right, after which an answer would follow padding; several answers a
                prompt; an emission that is none.
        """
        if emission not in ("free", "forced", "forbidden"):
            raise InputError(f"emission: {emission!r}; allowed: free, forced, forbidden")
        if attention_mask is not None and not bool(attention_mask[:, -1].all()):
            raise InputError("attention_mask: the prompts are padded on the right; pad them on the left to generate")
        if options.get("num_return_sequences") not in (None, 1):
            raise InputError("num_return_sequences: a prompt has one answer; give it once for every answer wanted")
        prompt = input_ids.shape[1]
        ends = self.ends(options)
        processors = LogitsProcessorList(options.pop("logits_processor", None) or [])
        never = picture_tokens(self.base.config) + [self.number] * (emission == "forbidden")
        if never:
            processors.append(SuppressTokensLogitsProcessor(never, device=str(self.device)))
        if emission == "forced":
            processors.append(FaceOnce(self.number, ends, prompt, max_new_tokens, at_once=at_once))
        if getattr(self.base.generation_config, "pad_token_id", None) is None:
            options.setdefault("pad_token_id", self.padding)
        options.pop("return_dict_in_generate", None)
        training = self.training
        self.eval()
        try:
            with HeadStates(self.base.get_output_embeddings(), last=True) as caught:
                sequences: Tensor = self.base.generate(
                    input_ids=input_ids,
                    attention_mask=torch.ones_like(input_ids) if attention_mask is None else attention_mask,
                    max_new_tokens=max_new_tokens,
                    logits_processor=processors,
                    return_dict_in_generate=False,
                    **options,
                )
            answers = sequences[:, prompt:]
            faces = self._written(answers, ends)
            states = self._step_states(caught, faces, options)
            if states is None:
                states = self._read_again(sequences, attention_mask, faces, options)
            return Generated(answers, self.faces(states), faces.nonzero()[:, 0])
        finally:
            self.train(training)

    @property
    def padding(self) -> int:
        """The id that fills up: the tokenizer's, else one that ends an answer (it is masked in any case)."""
        for number in (self.tokenizer.pad_token_id, *self.ends({})):
            if number is not None:
                return int(number)
        return 0

    def ends(self, options: dict[str, Any]) -> list[int]:
        """The ids that end an answer: as ``options`` say, else the base's, else the tokenizer's."""
        found = options.get("eos_token_id")
        for place in (options.get("generation_config"), self.base.generation_config, self.tokenizer):
            found = getattr(place, "eos_token_id", None) if found is None else found
        numbers = [] if found is None else torch.as_tensor(found).flatten().tolist()
        return [int(number) for number in numbers]

    def _kept(self, columns: Tensor) -> dict[str, Any]:
        """The argument that spares the logits nobody asks for, of a base that has it."""
        known = "logits_to_keep" in inspect.signature(type(self.base).forward).parameters
        return {"logits_to_keep": columns} if known else {}

    def _positions(self, attended: Tensor, inputs: dict[str, Any]) -> dict[str, Any]:
        """Positions that start at the first real token, where padding stands on the left.

        ``generate`` counts so, a plain call does not. Models whose positions have three axes count by themselves.
        """
        known = "position_ids" in inspect.signature(type(self.base).forward).parameters
        three_axes = hasattr(self.base.base_model, "get_rope_index")
        if not known or three_axes or "position_ids" in inputs or bool(attended[:, 0].all()):
            return {}
        return {"position_ids": (attended.long().cumsum(1) - 1).clamp(min=0)}

    def _written(self, answers: Tensor, ends: list[int]) -> Tensor:
        """Where ``<FACE>`` stands in answers before they end, ``(B, S)``."""
        over = torch.isin(answers, torch.tensor(ends, dtype=answers.dtype, device=answers.device)).cumsum(1) > 0
        return (answers == self.number) & ~over

    def _step_states(self, caught: HeadStates, faces: Tensor, options: dict[str, Any]) -> Tensor | None:
        """Hidden states at written tokens, caught when each was read to write the next; ``None`` where that fails.

        It fails where ``<FACE>`` is the last token of all, which nobody has read, and where tokens were not written
        one by one in rows that stay what they are (beams, assistants).
        """
        if not bool(faces.any()):
            return self.rows.input.new_zeros(0, self.head.first.in_features)
        config = options.get("generation_config") or self.base.generation_config
        beams = options.get("num_beams", config.num_beams) or 1
        steps = faces.shape[1]
        alone = len(caught.calls) == steps and all(length == 1 for length in caught.lengths[1:])
        if beams > 1 or not alone or bool(faces[:, -1].any()) or caught.calls[0].shape[0] != faces.shape[0]:
            return None
        # The call that read the answer's token s is the one after the call that wrote it.
        states = torch.stack(caught.calls[1:], 1)
        return states[faces[:, :-1].to(states.device)]

    def _read_again(
        self, sequences: Tensor, attention_mask: Tensor | None, faces: Tensor, options: dict[str, Any]
    ) -> Tensor:
        """Hidden states at written tokens from one more pass over prompts and answers."""
        prompt = sequences.shape[1] - faces.shape[1]
        known = inspect.signature(type(self.base).forward).parameters
        inputs = {name: value for name, value in options.items() if isinstance(value, Tensor) and name in known}
        for name, value in inputs.items():
            if value.shape == (len(sequences), prompt):  # kinds of tokens: those of an answer are text, 0
                inputs[name] = nn.functional.pad(value, (0, faces.shape[1]))
        mask = torch.ones_like(sequences)
        if attention_mask is not None:
            mask[:, :prompt] = attention_mask
        found = self(sequences, mask, **inputs)
        # The prompt may hold faces as well, those of earlier turns, and what follows an end may be anything.
        given = (sequences == self.number) & mask.bool()
        wanted = nn.functional.pad(faces, (prompt, 0))
        return found.states[wanted[given].to(found.states.device)]
