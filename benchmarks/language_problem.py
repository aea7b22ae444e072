"""The transformer as the subjects ``pretrain_step`` and ``decode`` use it: random weights, random captions and codes.

Every contender works on the same weights: models made by :func:`twin` share the tensors of the first. The optimiser
runs with a learning rate of 0, so that it does its work and every step starts from the same weights; dropout is off, so
that every contender's gradient can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel
from gptface.systems.gptface.pairs import Pairs

__all__ = ["LanguageProblem", "make_language", "random_pairs", "twin"]

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class LanguageProblem:
    """A model on its device, and the settings of the case."""

    settings: Mapping[str, Any]
    device: torch.device
    model: FaceLanguageModel

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.settings.get("dtype", "float32"))

    def autocast(self) -> torch.autocast:
        """Mixed precision where the case asks for it."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def make_language(settings: Mapping[str, Any], device: torch.device) -> LanguageProblem:
    """A model of ``settings["preset"]`` with ``settings["overrides"]``, the same weights every time."""
    torch.manual_seed(0)
    preset = getattr(FaceLanguageConfig, settings["preset"])
    config = preset(**{"dropout": 0.0, **settings["overrides"]})
    return LanguageProblem(settings, device, FaceLanguageModel(config).to(device))


def random_pairs(model: FaceLanguageModel, batch: int, device: torch.device, shortest: float = 0.125) -> Pairs:
    """Captions of uneven length, from ``shortest`` of the longest to the longest, and codes; uniform draws."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    longest = config.max_text_length
    lengths = torch.randint(max(1, int(shortest * longest)), longest + 1, (batch,), generator=generator)
    lengths[0] = longest
    special = max(config.pad_token_id, config.cls_token_id, config.sep_token_id, config.mask_token_id)
    text = torch.randint(special + 1, config.text_vocab_size, (batch, longest), generator=generator)
    codes = torch.randint(config.codebook_size, (batch, config.num_image_tokens), generator=generator)
    return Pairs(
        codes.to(device),
        text.to(device),
        lengths.to(device),
        torch.arange(batch, device=device),
        host_lengths=lengths,
    )


def twin(problem: LanguageProblem, kind: type[Model]) -> Model:
    """A model of class ``kind(config)`` over the weights of the problem's; gradients are its own."""
    other = kind(problem.model.config).to(problem.device)
    weights: dict[str, Tensor] = {name: value.detach() for name, value in problem.model.state_dict().items()}
    other.load_state_dict(weights, assign=True)
    for parameter in other.parameters():
        parameter.requires_grad_(True)
    return other.train(problem.model.training)
