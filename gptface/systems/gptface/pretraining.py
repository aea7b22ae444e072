"""Pre-training the face–language transformer on image codes and captions."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gptface.data.batches import Faces, InOrder, Needs, held_out_faces
from gptface.data.statistics import unigram_entropy
from gptface.data.token_faces import TokenFaces
from gptface.errors import InputError
from gptface.models import FaceParser, FaceTokenizer, FaceTokenizerConfig
from gptface.progress import Display
from gptface.systems.gptface.configuration import Configuration, PretrainSection
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.initialisation import initialise_image_embeddings
from gptface.systems.gptface.masking import TEXT_SHARE
from gptface.systems.gptface.mixed_batch import row_counts
from gptface.systems.gptface.objective import PretrainingObjective
from gptface.systems.gptface.pairs import PairMaker, Pairs, prepare_text_tokenizer, tokenizer_identity
from gptface.systems.gptface.picture_codes import encode_images
from gptface.systems.gptface.system import FaceSystem
from gptface.systems.gptface.transformer import FaceLanguageModel
from gptface.training.declaration import StageContext
from gptface.training.optimization import kernels
from gptface.training.stage import Moment, Phase, Stage

__all__ = ["PretrainingStage", "language_config"]

# Share of the training in which rates rise again once the towers have learned alone.
SECOND_WARMUP = 0.04

DERIVED = {
    "text_vocab_size": "pretrain.vocabulary_size",
    "codebook_size": "the image tokenizer",
    "image_grid": "the image tokenizer",
    "max_text_length": "data.text_length",
    "pad_token_id": "the text tokenizer",
    "cls_token_id": "the text tokenizer",
    "sep_token_id": "the text tokenizer",
    "mask_token_id": "the text tokenizer",
}


def language_config(configuration: Configuration, **derived: object) -> FaceLanguageConfig:
    """The transformer's configuration: the preset, the fields that differ, and ``derived``, what other parts fix.

    Raises:
        InputError: a field that is not the user's to set, or impossible values.
    """
    section = configuration.pretrain
    for name in section.model:
        if name in DERIVED:
            raise InputError(f"pretrain.model.{name}: follows from {DERIVED[name]}")
    try:
        config = getattr(FaceLanguageConfig, section.preset)(**{**derived, **section.model})
    except InputError as error:
        raise InputError(f"pretrain.model: {error}") from error
    assert isinstance(config, FaceLanguageConfig)
    return config


def other_tokenizer(section: FaceTokenizerConfig, given: FaceTokenizerConfig) -> str | None:
    """A sentence where the configuration's section ``tokenizer`` speaks of another tokenizer than the one ``given``.

    Only the one that is given counts. It may well be another, such as a converted checkpoint, but nobody should take
    the section that is written into the run's folder for its description.
    """

    def described(config: FaceTokenizerConfig) -> str:
        return f"{config.codebook_size} codes on {config.grid[0]}×{config.grid[1]} tokens"

    if described(section) == described(given):
        return None
    return f"the tokenizer that is given has {described(given)}; section tokenizer ({described(section)}) is not used"


def check_codes(faces: TokenFaces, identity: str, folder: Path) -> None:
    """See that token shards hold the codes of the tokenizer that is given.

    Raises:
        InputError: they are another's.
    """
    if faces.form.tokenizer != identity:
        raise InputError(
            f"data.source: the token shards hold codes of the tokenizer {faces.form.tokenizer}, and {folder} is "
            f"{identity}; give the one they were encoded with, or encode the pictures with this one"
        )


class PretrainingStage(Stage):
    """The face–language transformer; the result is the run's folder, a whole :class:`FaceSystem`."""

    name = "pretrain"
    result = "."
    section: PretrainSection
    uneven = True  # captions differ in length, masks in size

    def __init__(self, context: StageContext) -> None:
        configuration: Configuration = context.configuration
        output, accelerator, verbose = context.output, context.accelerator, context.verbose
        decoded = configuration.data.source == "tokens" or configuration.data.cache
        if configuration.pretrain.cache_codes and not decoded:
            raise InputError("pretrain.cache_codes: needs data.cache, which is off")
        tokenizer = FaceTokenizer.from_pretrained(context.inputs["tokenizer"])
        identity = tokenizer_identity(context.inputs["tokenizer"])
        # Loaded now, so that one that cannot be used is known before hours of training.
        self.parser = FaceParser.from_pretrained(context.inputs["parser"]) if "parser" in context.inputs else None
        section = configuration.pretrain
        self.section = section
        data = configuration.data
        if tokenizer.config.image_size != data.image_size:
            raise InputError(
                f"data.image_size: {data.image_size} pixels, but the tokenizer was trained on "
                f"{tokenizer.config.image_size}"
            )
        note = other_tokenizer(configuration.tokenizer_config(), tokenizer.config)
        if note is not None:
            Display(self.name, verbose and accelerator.is_main_process).line(f"{self.name}: {note}")
        self.device = accelerator.device
        self.tokenizer = tokenizer.to(self.device).eval().requires_grad_(False)
        faces = Faces(data, "train", output, accelerator, verbose=verbose, tokens=True)
        held_out = held_out_faces(data, output, accelerator, verbose=verbose, tokens=True)
        for opened in (faces, held_out):
            if opened is not None and opened.tokens is not None:
                check_codes(opened.tokens, identity, context.inputs["tokenizer"])
        self.text_tokenizer = prepare_text_tokenizer(
            configuration, faces.captions(), output / "text_tokenizer", accelerator, keep=context.resuming
        )
        specials = {f"{name}_token_id": getattr(self.text_tokenizer, f"{name}_token_id") for name in _ROLES}
        config = language_config(
            configuration,
            text_vocab_size=len(self.text_tokenizer),
            codebook_size=tokenizer.config.codebook_size,
            image_grid=list(tokenizer.config.grid),
            max_text_length=data.text_length,
            **specials,
        )
        self.model = FaceLanguageModel(config)
        initialise_image_embeddings(self.model, tokenizer.quantizer.codebook)
        self.model.train()
        if section.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        pairs = len(faces) if section.cache_codes else 0
        self.objective = PretrainingObjective(self.model, section, pairs)
        if section.sparse.image < 1 and not self.model.to(self.device).packing_pays():
            Display(self.name, verbose and accelerator.is_main_process).line(
                f"{self.name}: pretrain.sparse leaves nothing out: attention computes here what is hidden"
            )
        self.phases = [Phase("model", self.objective, matrices=kernels(*_matrix_parts(self.model)))]

        needs = Needs(
            images=not section.cache_codes,
            token_regions=tokenizer.config.grid if section.needs_regions else None,
            text=(self.text_tokenizer, data.text_length),
            without_regions="pretrain.image_masks.regions and pretrain.image_masks.edits: must be 0 and "
            "pretrain.losses.regions empty",
        )
        encode = partial(encode_images, tokenizer=self.tokenizer, identity=identity, accelerator=accelerator)
        text_length = faces.text_width(needs)
        codes = None
        if section.cache_codes and faces.tokens is None:
            assert faces.cache is not None  # the configuration sees to it
            codes = encode(
                faces.cache,
                flips=data.flip,
                views=section.views,
                regions=needs.token_regions is not None,
                verbose=verbose,
            )
        compared = max(section.batch_size, section.contrastive.pairs if section.losses.contrastive > 0 else 0)
        make = PairMaker(self.tokenizer, codes)
        self.batches = faces.batches(needs, make, batch_size=compared, seed=section.seed)
        self.held_out: InOrder[Pairs] | None = None
        if held_out is not None:
            if held_out.cache is not None:
                make = PairMaker(self.tokenizer, encode(held_out.cache, flips=False, verbose=verbose))
            needs = dataclasses.replace(needs, images=False)
            self.held_out = held_out.in_order(needs, make, batch_size=section.batch_size)
        self.flops_per_sample = self._flops(text_length, 1.0)
        self.flops_per_sparse_sample = self._flops(text_length, section.sparse.image)
        self.flops_per_comparison = self._tower_flops(text_length)

    def _flops(self, text_length: int, kept: float) -> float:
        """Per pair, mismatched rows and the two heads included; forward and backward.

        ``kept`` is the share of their image tokens that sparse rows compute.
        """
        config, batch = self.model.config, self.section.batch_size
        masked, to_image, to_text, mismatched = row_counts(self.section, batch)
        tokens = config.num_image_tokens
        whole = float(self.model.flops_per_sequence(text_length + tokens + 3))
        sparse = float(self.model.flops_per_sequence(text_length + max(1, round(kept * tokens)) + 3))
        # Of a MaskGIT cosine ratio the mean is 2 / pi.
        image_rows = (masked * kept * 2 / math.pi + to_image) * tokens
        text_rows = (masked * self.section.text_mask_ratio * TEXT_SHARE + to_text) * text_length
        width = config.hidden_size
        heads = image_rows * (width + config.codebook_size) + text_rows * (width + config.text_vocab_size)
        return (to_image * whole + (masked + to_text + mismatched) * sparse + 6 * width * heads) / batch

    def _tower_flops(self, text_length: int) -> float:
        """Per pair that is compared, forward and backward."""
        towers = self.model.alignment
        return 0.0 if towers is None else towers.flops_per_pair(text_length)

    def rate(self, step: int, share: float) -> float:
        # The transformer's first steps are made at small rates, as the towers' were; its gain alone was not measured.
        alone = self.section.contrastive.alone
        again = min(1.0, (share - alone) / SECOND_WARMUP) if share >= alone > 0 else 1.0
        return super().rate(step, share) * again

    def work(self, share: float) -> tuple[int, float]:
        contrastive, samples = self.section.contrastive, self.section.batch_size
        sparse = share < self.section.sparse.until and self.model.packing_pays()
        each = self.flops_per_sparse_sample if sparse else self.flops_per_sample
        if self.section.losses.contrastive == 0:
            return samples, samples * each
        pairs = max(samples, contrastive.pairs)
        compared = pairs * self.flops_per_comparison
        if share < contrastive.alone:
            return pairs, compared
        return samples, samples * each + compared

    def counts(self, batch: Pairs, moment: Moment) -> Tensor:
        return self.objective.counts(batch, moment)

    def milestones(self) -> dict[str, float]:
        alone, sparse = self.section.contrastive.alone, self.section.sparse
        found = {"contrastive.alone": alone} if alone > 0 else {}
        return found | ({"sparse.until": sparse.until} if sparse.image < 1 else {})

    def compilable(self) -> list[nn.Module]:
        return list(self.model.layers)

    def save(self, output: Path) -> None:
        FaceSystem(self.tokenizer, self.model, self.text_tokenizer, self.parser).save_pretrained(output)

    def validate(self) -> dict[str, float]:
        """The training losses and accuracies on the held-out pairs, and the unigram entropy of each modality."""
        if self.held_out is None:
            return {}
        torch.manual_seed(0)
        held_out = list(self.held_out)
        passes = [(pairs, Moment(0, number, 1.0)) for number, pairs in enumerate(held_out)]
        # As in training: every token weighs as it does there, in whatever batch it stands.
        counts = torch.stack([self.counts(pairs, moment) for pairs, moment in passes]).mean(0)
        totals: dict[str, list[Tensor]] = {}
        for pairs, moment in passes:
            moment.counts = counts
            loss, parts = self.objective(pairs, moment)
            for name, value in {"loss": loss, **parts}.items():
                totals.setdefault(name, []).append(value.float())
        figures = {name: float(torch.stack(values).mean()) for name, values in totals.items()}
        vocabulary = self.model.vocabulary
        words = [pairs.text_ids[_inside(pairs)] for pairs in held_out]
        figures["text_unigram_entropy"] = unigram_entropy(torch.cat(words), vocabulary.text_size)
        codes = torch.cat([pairs.codes for pairs in held_out])
        figures["image_unigram_entropy"] = unigram_entropy(codes, vocabulary.image_size)
        return figures


def _matrix_parts(model: FaceLanguageModel) -> list[nn.Module]:
    """The parts whose weights Muon may take."""
    return [model.layers, *(part for part in (model.surroundings, model.merging) if part is not None)]


_ROLES = ("pad", "cls", "sep", "mask")


def _inside(pairs: Pairs) -> Tensor:
    """Which text positions are not padding: bool (B, T)."""
    return torch.arange(pairs.text_ids.shape[1], device=pairs.text_ids.device) < pairs.text_lengths.unsqueeze(1)
