"""The numbers of a trained GPTFace on new faces: what ``gptface evaluate system`` prints and the report shows."""

from __future__ import annotations

from typing import Any

from gptface.data.text import encode_captions
from gptface.evaluation.face_set import FaceSet
from gptface.evaluation.reconstruction import ReconstructionQuality, measure_reconstruction
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.contradictions import measure_contradictions
from gptface.systems.gptface.evaluation.masked_modelling import measure_masked_modelling
from gptface.systems.gptface.evaluation.matching import measure_matching

__all__ = ["measure_system"]


def measure_system(
    system: FaceSystem, faces: FaceSet, *, group: str | None = None, seed: int = 0
) -> tuple[dict[str, Any], ReconstructionQuality]:
    """Reconstruction, masked modelling and matching in one dictionary of plain numbers (nats, decibels, shares).

    Args:
        group: metadata field of the person, see :func:`~.contradictions.measure_contradictions`.
    """
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
        "contradicting_captions": measure_contradictions(
            system, faces, reconstruction.codes, text_ids, text_lengths, group=group, seed=seed
        ),
    }
    return numbers, reconstruction
