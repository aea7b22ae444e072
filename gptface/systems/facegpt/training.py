"""Training FaceGPT: drawn faces, photos, words and questions in one mixture, endlessly, and what a validation says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from gptface.data.batches import FaceBatch, Faces, InOrder, Needs, held_out_faces
from gptface.data.procedural.randomness import Draws
from gptface.data.text import load_text_tokenizer, train_text_tokenizer
from gptface.errors import InputError
from gptface.files import atomic_directory
from gptface.morphable import MorphableModel
from gptface.morphable.coarser import coarser
from gptface.progress import Display
from gptface.systems.facegpt.configuration import Configuration, FaceGPTSection
from gptface.systems.facegpt.configuration_model import FaceGPTConfig
from gptface.systems.facegpt.data.backgrounds import Backgrounds, PhotoBackgrounds
from gptface.systems.facegpt.data.conversations import Conversation, reconstruction, reconstruction_with_words, spoken
from gptface.systems.facegpt.data.instructions import read_instructions
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.data.sentences import Sentences, names_movements
from gptface.systems.facegpt.layout import FaceLayout
from gptface.systems.facegpt.lessons import (
    CaptionedPhotos,
    DrawnFaces,
    GeneralQuestions,
    LessonBatches,
    Lessons,
    PhotoFaces,
    SculptedFaces,
    Source,
    apportioned,
)
from gptface.systems.facegpt.model import FaceGPT
from gptface.systems.facegpt.morphable_reference import MorphableReference, open_morphable
from gptface.systems.facegpt.objective import FaceGPTObjective, Lesson
from gptface.systems.facegpt.pseudo_labels import PseudoLabels, fit_pseudo_labels
from gptface.systems.facegpt.sequence import ConversationTokens
from gptface.training.declaration import StageContext
from gptface.training.optimization import kernels
from gptface.training.stage import Moment, Phase, Stage

__all__ = ["HELD_OUT_SEED", "FaceGPTStage"]

HELD_OUT_SEED = 0x68656C64
"""Between the seed of what is trained on and that of what is held out: other people, lights and sentences."""

# Conversations of a source that a tokenizer is trained on; of captions and questions there may be millions.
READ_FROM_A_SOURCE = 4000
READ_CAPTIONS = 50_000

# Words of a conversation, for the count of operations.
TYPICAL_WORDS = 32


class FaceGPTStage(Stage):
    """The stage; its result is ``model/`` in the run's folder: weights, tokenizer, a note on the morphable model."""

    name = "facegpt"
    result = "model"
    uneven = True  # in how much is said
    section: FaceGPTSection

    def __init__(self, context: StageContext) -> None:
        configuration: Configuration = context.configuration
        accelerator = context.accelerator
        self.section = section = configuration.facegpt
        self.device = accelerator.device
        self.verbose = context.verbose
        mixture = section.mixture
        counts = apportioned(
            {name: getattr(mixture, name) for name in ("photos", "captions", "drawn", "sculpture", "general")},
            section.batch_size,
        )
        morphable = open_morphable(section.morphable)
        self.reference = MorphableReference.of(morphable, section.morphable)
        self.layout = _layout(morphable, section)
        faces = held_out = None
        if mixture.photos or mixture.captions:
            faces = Faces(configuration.data, "train", context.output, accelerator, verbose=context.verbose)
            held_out = held_out_faces(configuration.data, context.output, accelerator, verbose=context.verbose)
        elif section.pseudo_labels:
            raise InputError(
                "facegpt.pseudo_labels: no photos are in the mixture; raise facegpt.mixture.photos, or turn it off"
            )
        questions = _questions(section)
        sentences = Sentences(morphable, section.seed) if mixture.sculpture else None
        talk = None
        if mixture.drawn:
            named = _talk(section, morphable)
            talk = DrawnFaces(RenderedFaces(morphable, seed=section.seed), self.layout, named, section.drawn.words)
        tokenizer = _tokenizer(section, sentences, talk, faces, questions)
        self.tokens = _tokens(section, tokenizer)
        self.config = config = _model_config(section, self.layout, self.tokens)
        if faces is not None and configuration.data.image_size < config.image_size:
            raise InputError(
                f"data.image_size: {configuration.data.image_size} pixels, but the model's pictures have "
                f"{config.image_size}, and enlarged ones have nothing to learn from; allowed: "
                f"{config.image_size} or more"
            )
        torch.manual_seed(section.seed)
        self.model = FaceGPT(config)
        self.model.train()
        drawn = coarser(morphable, section.mesh_spacing)
        drawn = (copy.deepcopy(drawn) if drawn is morphable else drawn).to(self.device)
        self.objective = FaceGPTObjective(self.model, section, self.layout, drawn)
        hidden = kernels(self.model.layers, self.model.face_head.first)
        if config.stem != "linear":
            hidden += kernels(self.model.patches)[1:]  # the first sees pixels: no hidden layer
        self.phases = [Phase("facegpt", self.objective, matrices=hidden)]
        seen = sum(counts.get(name, 0) for name in ("photos", "captions", "drawn"))
        lengths = [TYPICAL_WORDS + config.num_patches] * seen + [TYPICAL_WORDS] * (section.batch_size - seen)
        self.flops_per_sample = 3.0 * self.model.flops(lengths) / section.batch_size

        labels = self._pseudo_labels(context, faces, morphable) if section.pseudo_labels else None
        shown = coarser(morphable, section.drawn.mesh_spacing)
        backgrounds = PhotoBackgrounds.of_files(section.drawn.backgrounds) if section.drawn.backgrounds else None

        def lessons(seed: int, held: bool) -> Lessons:
            known = None if held else labels
            size = self.layout.size
            sources: dict[str, Source] = {
                "photos": PhotoFaces(size, seed, known),
                "captions": CaptionedPhotos(size, seed, known),
            }
            if mixture.drawn:
                made = _drawn_faces(section, shown, config, seed, backgrounds)
                sources["drawn"] = DrawnFaces(made, self.layout, _talk(section, morphable), section.drawn.words)
            if mixture.sculpture:
                said = Sentences(morphable, seed, held_out=held)
                sources["sculpture"] = SculptedFaces(said, self.layout, morphable)
            if mixture.general:
                sources["general"] = GeneralQuestions(questions, size, seed)
            places = counts
            if held and (held_out is None or held_out.cache is None or len(held_out) < counts.get("photos", 0)):
                places = {name: count for name, count in counts.items() if name not in ("photos", "captions")}
            return Lessons(sources, places, self.tokens, config.image_size, packed=self.model.packing_pays())

        trained = lessons(section.seed, held=False)
        needs = Needs(landmarks=True, captions=mixture.captions > 0)
        photos = None
        if faces is not None:
            photos = faces.batches(needs, lambda batch: batch, batch_size=trained.photos, seed=section.seed)
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.batches = LessonBatches(trained, photos, self.device, rank, processes)
        self._held_out = lessons(section.seed + HELD_OUT_SEED, held=True)
        self._held_out_photos: InOrder[FaceBatch] | None = None
        if held_out is not None and self._held_out.photos:
            self._held_out_photos = held_out.in_order(needs, lambda batch: batch, batch_size=self._held_out.photos)

    def _pseudo_labels(self, context: StageContext, faces: Faces | None, morphable: MorphableModel) -> PseudoLabels:
        """Read from the file that is named, else fitted once into the run's folder."""
        section, accelerator = self.section, context.accelerator
        if section.pseudo_label_file is not None:
            labels = PseudoLabels.read(Path(section.pseudo_label_file).expanduser(), self.layout.size)
            cache = None if faces is None else faces.cache
            if cache is not None and not np.isin(cache.sample_ids, labels.sample_ids).any():
                raise InputError(
                    f"facegpt.pseudo_label_file: {section.pseudo_label_file}: has a label of none of these photos"
                )
            return labels
        assert faces is not None
        if faces.cache is None:
            raise InputError(
                "facegpt.pseudo_labels: photos that are not cached cannot be fitted beforehand; set data.cache: true, "
                "or name facegpt.pseudo_label_file"
            )
        path = context.output / "pseudo_labels.npz"
        if accelerator.is_main_process:
            with Display("pseudo-labels", context.verbose) as display:
                found = fit_pseudo_labels(faces.cache, morphable, self.layout, path, display.advance)
                display.line(f"pseudo-labels: {len(found)} of {len(faces)} photos, in {path}")
        accelerator.wait_for_everyone()
        return PseudoLabels.read(path, self.layout.size)

    def counts(self, batch: Lesson, moment: Moment) -> Tensor:
        return self.objective.counts(batch, moment)

    def compilable(self) -> list[nn.Module]:
        return list(self.model.layers)

    def save(self, output: Path) -> None:
        with atomic_directory(output / self.result) as temporary:
            self.model.save_pretrained(temporary)
            self.tokens.tokenizer.save_pretrained(temporary)
            self.reference.save(temporary)

    def validate(self) -> dict[str, float]:
        """Losses, means over batches: of faces, sentences and photos that training does not see.

        General questions are those of the training: files that are held out are for ``evaluate face3d-emission``.
        """
        sums: dict[str, float] = {}
        if not self._held_out.counts:
            return sums
        photos: Iterator[FaceBatch | None] = iter([None] * self.section.validation_batches)
        if self._held_out_photos is not None:
            photos = iter(self._held_out_photos)
        made = 0
        for number, batch in enumerate(islice(photos, self.section.validation_batches)):
            if batch is not None and len(batch.sample_ids) < self._held_out.photos:
                break  # what is left is less than a batch takes
            own = None if batch is None else batch.to(torch.device("cpu"))
            lesson = self._held_out.make(number, own).to(self.device)
            total, parts = self.objective(lesson, Moment(step=0, micro_step=number, share=0.0))
            for name, value in {"loss": total, **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            made += 1
        return {name: value / made for name, value in sums.items()}


def _layout(morphable: MorphableModel, section: FaceGPTSection) -> FaceLayout:
    names = ("identity_modes", "expression_modes", "albedo_modes")
    try:
        return FaceLayout(morphable, **{name: section.model.get(name) for name in names})
    except InputError as error:
        raise InputError(f"facegpt.model.{error}") from error


def _model_config(section: FaceGPTSection, layout: FaceLayout, tokens: ConversationTokens) -> FaceGPTConfig:
    """The preset with what the section changes, and what follows from tokenizer and morphable model.

    Raises:
        InputError: an unknown field, one that is not the section's to set, or values that do not go together.
    """
    follows: dict[str, Any] = {"vocab_size": len(tokens), "face_size": layout.size, **tokens.ids}
    for name in section.model:
        if name in follows:
            raise InputError(f"facegpt.model.{name}: follows from the text tokenizer and the morphable model; leave it")
    preset = {"tiny": FaceGPTConfig.tiny, "small": FaceGPTConfig.small, "base": FaceGPTConfig.base}[section.preset]
    try:
        return preset(**{**section.model, **follows})
    except InputError as error:
        raise InputError(f"facegpt.model: {error}") from error


def _tokens(section: FaceGPTSection, tokenizer: PreTrainedTokenizerFast) -> ConversationTokens:
    preset = {"tiny": FaceGPTConfig.tiny, "small": FaceGPTConfig.small, "base": FaceGPTConfig.base}[section.preset]
    try:
        # The shape alone, before the vocabulary is known.
        shape = preset(**{name: value for name, value in section.model.items() if name not in ("vocab_size",)})
    except InputError as error:
        raise InputError(f"facegpt.model: {error}") from error
    return ConversationTokens(tokenizer, num_patches=shape.num_patches, max_text_length=shape.max_text_length)


def _drawn_faces(
    section: FaceGPTSection,
    morphable: MorphableModel,
    config: FaceGPTConfig,
    seed: int,
    backgrounds: Backgrounds | None,
) -> RenderedFaces:
    drawn = section.drawn
    return RenderedFaces(
        morphable,
        config.image_size,
        seed,
        backgrounds=backgrounds,
        yaw=drawn.yaw,
        pitch=drawn.pitch,
        roll=drawn.roll,
        zoom=drawn.zoom,
        grey=drawn.grey,
        noise=drawn.noise,
    )


def _talk(section: FaceGPTSection, morphable: MorphableModel) -> Sentences | None:
    """How the movements of drawn faces are said; ``None`` where they are not talked about."""
    if not section.drawn.words or not names_movements(morphable):
        return None
    return Sentences(morphable, section.seed, traits=False)


def _questions(section: FaceGPTSection) -> list[Conversation]:
    """The general questions; none where the mixture has no place for them."""
    if not section.mixture.general:
        return []
    if not section.instructions:
        raise InputError("facegpt.instructions: must name files of questions when facegpt.mixture.general is above 0")
    return [row.conversation for path in section.instructions for row in read_instructions(Path(path).expanduser())]


def _tokenizer(
    section: FaceGPTSection,
    sentences: Sentences | None,
    talk: DrawnFaces | None,
    faces: Faces | None,
    questions: list[Conversation],
) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder, or one trained on what is said: the same for the same configuration and data."""
    if section.text_tokenizer is not None:
        return load_text_tokenizer(Path(section.text_tokenizer).expanduser())

    def conversations() -> Iterator[Conversation]:
        for number in range(READ_FROM_A_SOURCE // 4):
            draws = Draws(section.seed, number)
            yield reconstruction(draws)
            if section.mixture.captions:
                yield reconstruction_with_words(draws, "face") or reconstruction(draws)
        if talk is not None:
            yield from (talk.conversation(number, 20.0 * (number % 3 - 1)) for number in range(READ_FROM_A_SOURCE))
        if sentences is not None:
            yield from map(sentences.conversation, range(READ_FROM_A_SOURCE))
        yield from questions[:READ_CAPTIONS]

    texts = list(spoken(conversations()))
    if faces is not None and section.mixture.captions:
        texts += islice(faces.captions(), READ_CAPTIONS)
    return train_text_tokenizer(texts, section.vocab_size)
