"""The losses, pure functions of what the models return, one file a subject."""

from __future__ import annotations

from gptface.objectives.alignment import alignment_loss, code_activations
from gptface.objectives.components import component_count, component_loss, component_means, components_seen
from gptface.objectives.face_parameters import basis_metric, metric_distances, rotation_distances
from gptface.objectives.face_parsing import parsing_counts, parsing_losses
from gptface.objectives.image_text_matching import (
    Negatives,
    contrastive_loss,
    hard_negatives,
    match_loss,
    random_negatives,
    same_captions,
)
from gptface.objectives.incubation import incubation_loss
from gptface.objectives.layout import layout_cells, layout_loss
from gptface.objectives.masked_modelling import gathered_cross_entropy, gathered_token_losses
from gptface.objectives.patches import normalised_patches, patch_loss, restored_patches
from gptface.objectives.perceptual import feature_loss
from gptface.objectives.photometric import photometric_errors, photometric_weights
from gptface.objectives.projected_landmarks import landmark_errors
from gptface.objectives.reconstruction import (
    adversarial_weight,
    discriminator_hinge_loss,
    generator_hinge_loss,
    gradient_loss,
    psnr,
    reconstruction_counts,
    reconstruction_losses,
)
from gptface.objectives.relations import relation_count, relation_loss

__all__ = [
    "Negatives",
    "adversarial_weight",
    "alignment_loss",
    "basis_metric",
    "code_activations",
    "component_count",
    "component_loss",
    "component_means",
    "components_seen",
    "contrastive_loss",
    "discriminator_hinge_loss",
    "feature_loss",
    "gathered_cross_entropy",
    "gathered_token_losses",
    "generator_hinge_loss",
    "gradient_loss",
    "hard_negatives",
    "incubation_loss",
    "landmark_errors",
    "layout_cells",
    "layout_loss",
    "match_loss",
    "metric_distances",
    "normalised_patches",
    "parsing_counts",
    "parsing_losses",
    "patch_loss",
    "photometric_errors",
    "photometric_weights",
    "psnr",
    "random_negatives",
    "reconstruction_counts",
    "reconstruction_losses",
    "relation_count",
    "relation_loss",
    "restored_patches",
    "rotation_distances",
    "same_captions",
]
