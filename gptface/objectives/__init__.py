"""The losses, pure functions of what the models return, one file a subject."""

from __future__ import annotations

from gptface.objectives.face_parsing import parsing_losses
from gptface.objectives.image_text_matching import (
    Negatives,
    contrastive_loss,
    hard_negatives,
    match_loss,
    random_negatives,
    same_captions,
)
from gptface.objectives.masked_modelling import gathered_cross_entropy, gathered_token_losses
from gptface.objectives.reconstruction import (
    adversarial_weight,
    discriminator_hinge_loss,
    generator_hinge_loss,
    gradient_loss,
    psnr,
    reconstruction_losses,
)

__all__ = [
    "Negatives",
    "adversarial_weight",
    "contrastive_loss",
    "discriminator_hinge_loss",
    "gathered_cross_entropy",
    "gathered_token_losses",
    "generator_hinge_loss",
    "gradient_loss",
    "hard_negatives",
    "match_loss",
    "parsing_losses",
    "psnr",
    "random_negatives",
    "reconstruction_losses",
    "same_captions",
]
