"""The numbers of a trained GPTFace on faces it has not seen: what ``gptface evaluate`` prints and the report shows."""

from __future__ import annotations

import torch

from gptface.data.text import encode_captions
from gptface.evaluation.face_set import FaceSet
from gptface.evaluation.features import pixel_features
from gptface.evaluation.probe import ProbeResult, Representation, probe_faces
from gptface.evaluation.reconstruction import ReconstructionQuality, measure_reconstruction
from gptface.systems.gptface import FaceLanguageModel, FaceSystem
from gptface.systems.gptface.evaluation.features import transformer_features
from gptface.systems.gptface.evaluation.masked_modelling import measure_masked_modelling
from gptface.systems.gptface.evaluation.matching import measure_matching

__all__ = ["measure_system", "probe_system"]


def measure_system(
    system: FaceSystem, faces: FaceSet, *, seed: int = 0
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


def probe_system(
    system: FaceSystem,
    train: FaceSet,
    test: FaceSet,
    *,
    field: str,
    group_field: str | None = None,
    seed: int = 0,
) -> dict[str, ProbeResult]:
    """The same linear probe on pre-trained features, on those of a randomly initialised model, and on raw pixels.

    Both models read the same image tokens, and for both the layer (the embedding, the middle or the last one, or the
    alignment towers' summary) is chosen without the test faces, so what differs is the weights alone.

    Args:
        train, test, field, group_field: as for :func:`~gptface.evaluation.probe.probe_faces`.
        seed: of the random model and of the selection split.

    Returns:
        ``{"pre-trained": …, "random initialisation": …, "raw pixels": …}``
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random_model = FaceLanguageModel(system.model.config)
        random_model.to(system.device)  # type: ignore[arg-type]
    depth = system.model.config.num_hidden_layers

    def features_of(model: FaceLanguageModel) -> Representation:
        return lambda images: transformer_features(system.tokenizer, model, images, layers=(0, depth // 2, depth))

    representations: dict[str, Representation] = {
        "pre-trained": features_of(system.model),
        "random initialisation": features_of(random_model),
        "raw pixels": lambda images: {"pixels": pixel_features(images)},
    }
    return probe_faces(train, test, representations, field=field, group_field=group_field, seed=seed)
