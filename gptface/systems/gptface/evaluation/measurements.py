"""The numbers of a trained system on faces it has not seen: what ``gptface evaluate`` prints and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptface.data.sample import Sample
from gptface.data.text import encode_captions
from gptface.errors import InputError
from gptface.evaluation.probe import ProbeResult, linear_probe
from gptface.evaluation.reconstruction import ReconstructionQuality, measure_reconstruction
from gptface.systems.gptface import FaceLanguageModel, FaceSystem
from gptface.systems.gptface.evaluation.features import pixel_features, transformer_features
from gptface.systems.gptface.evaluation.masked_modelling import measure_masked_modelling
from gptface.systems.gptface.evaluation.matching import measure_matching

__all__ = ["HeldOutFaces", "collect_faces", "measure_system", "probe_representations"]


@dataclass
class HeldOutFaces:
    """Faces in memory, in the order of their data set.

    Attributes:
        images: uint8 ``(N, H, W, 3)``.
        captions: one a face, maybe empty.
        samples: the samples themselves (metadata, region maps).
        skipped: how many entries of the data set could not be used, by reason.
    """

    images: np.ndarray
    captions: list[str]
    samples: list[Sample]
    skipped: dict[str, int]


def collect_faces(dataset: Any, count: int | None = None) -> HeldOutFaces:
    """Read the first ``count`` usable samples of a map-style data set."""
    samples: list[Sample] = []
    skipped: dict[str, int] = {}
    for index in range(len(dataset)):
        if count is not None and len(samples) >= count:
            break
        item = dataset[index]
        if isinstance(item, Sample):
            samples.append(item)
        else:
            skipped[item.reason] = skipped.get(item.reason, 0) + 1
    if not samples:
        raise InputError(f"the data set has no usable face (skipped: {skipped or 'nothing'})")
    images = np.stack([sample.image for sample in samples])
    return HeldOutFaces(images, [sample.caption for sample in samples], samples, skipped)


def measure_system(
    system: FaceSystem, faces: HeldOutFaces, *, seed: int = 0
) -> tuple[dict[str, float], ReconstructionQuality]:
    """Reconstruction, masked modelling and matching in one dictionary of plain numbers (nats, decibels, shares)."""
    reconstruction = measure_reconstruction(system.tokenizer, faces.images)
    text_ids, text_lengths = encode_captions(system.text_tokenizer, faces.captions, system.model.config.max_text_length)
    modelling = measure_masked_modelling(system.model, reconstruction.codes, text_ids, text_lengths, seed=seed)
    matching = measure_matching(system.model, reconstruction.codes, text_ids, text_lengths, seed=seed)
    numbers = {
        "faces": float(len(faces.images)),
        "tokenizer_psnr_db": reconstruction.psnr,
        "tokenizer_psnr_db_lowest_tenth": reconstruction.psnr_low,
        "codebook_usage": reconstruction.usage,
        "codebook_perplexity": reconstruction.perplexity,
        "masked_image_loss": modelling.image_loss,
        "masked_image_unigram_entropy": modelling.image_unigram,
        "masked_image_accuracy": modelling.image_accuracy,
        "masked_text_loss": modelling.text_loss,
        "masked_text_unigram_entropy": modelling.text_unigram,
        "masked_text_accuracy": modelling.text_accuracy,
        "matching_accuracy": matching.accuracy,
        "matching_accuracy_half_masked": matching.masked_accuracy,
        "matching_ranking": matching.ranking,
    }
    return numbers, reconstruction


def _labels(faces: HeldOutFaces, field: str, names: Mapping[str, int]) -> np.ndarray:
    return np.array([names[str(sample.metadata[field])] for sample in faces.samples])


def _check_field(faces: HeldOutFaces, field: str, which: str) -> None:
    missing = sum(field not in sample.metadata for sample in faces.samples)
    if missing:
        known = sorted(faces.samples[0].metadata)
        raise InputError(f"{missing} {which} faces have no metadata field {field!r}; the first one has {known}")


def probe_representations(
    system: FaceSystem,
    train: HeldOutFaces,
    test: HeldOutFaces,
    *,
    field: str,
    group_field: str | None = None,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, ProbeResult]:
    """The same linear probe on pre-trained features, on those of a randomly initialised model, and on raw pixels.

    Both models read the same image tokens, and for both the layer (or the alignment towers' summary) is chosen on the
    selection split of the training faces, so what differs is the weights alone.

    Args:
        field: metadata field that holds the label, such as ``"expression"``.
        group_field: metadata field of identities that must not stand on both sides of the selection split.
        layers: candidate hidden states; by default the embedding, the middle and the last one.

    Returns:
        ``{"pre-trained": …, "random initialisation": …, "raw pixels": …}``
    """
    _check_field(train, field, "training")
    _check_field(test, field, "test")
    names = {name: index for index, name in enumerate(sorted({str(s.metadata[field]) for s in train.samples}))}
    unknown = sorted({str(sample.metadata[field]) for sample in test.samples} - set(names))
    if unknown:
        raise InputError(f"labels {unknown} of field {field!r} occur among the test faces but not in training")
    train_labels, test_labels = _labels(train, field, names), _labels(test, field, names)
    groups = None
    if group_field is not None:
        _check_field(train, group_field, "training")
        groups = np.array([str(sample.metadata[group_field]) for sample in train.samples])

    def probe(train_features: np.ndarray, test_features: np.ndarray) -> ProbeResult:
        return linear_probe(train_features, train_labels, test_features, test_labels, groups=groups, seed=seed)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random_model = FaceLanguageModel(system.model.config)
        random_model.to(system.device)  # type: ignore[arg-type]
    depth = system.model.config.num_hidden_layers
    results = {}
    for name, model in (("pre-trained", system.model), ("random initialisation", random_model)):
        chosen = layers if layers is not None else (0, depth // 2, depth)
        ours, theirs = (
            transformer_features(system.tokenizer, model, faces.images, layers=chosen) for faces in (train, test)
        )
        candidates = [probe(ours[feature], theirs[feature]) for feature in ours]
        results[name] = max(candidates, key=lambda result: result.selection)
    results["raw pixels"] = probe(pixel_features(train.images), pixel_features(test.images))
    return results
