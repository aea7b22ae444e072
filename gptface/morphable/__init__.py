"""Morphable face models: one linear model, its readers, camera, light, renderer and mesh export. Usable alone.

>>> model = load_morphable_model("synthetic")
>>> parameters = named_parameters(model, expression={"mouthSmile_L": 1.0}, pose={"yaw": 20.0})
>>> rendering = draw(model, parameters, 224, 224)
"""

from gptface.morphable.albedo import add_analytic_albedo, laplacian_modes
from gptface.morphable.camera import PerspectiveCamera, WeakPerspectiveCamera, clip_to_pixels, place
from gptface.morphable.coarser import coarser
from gptface.morphable.distance import aligned, angle_errors, vertex_distances
from gptface.morphable.fitting import LandmarkFit, fit_landmarks, pose_of_landmarks
from gptface.morphable.geometry import vertex_normals
from gptface.morphable.light import ambient_light, directional_light, irradiance, spherical_harmonics, studio_light
from gptface.morphable.light_fitting import fit_light
from gptface.morphable.loading import MODEL_NAMES, load_morphable_model
from gptface.morphable.mesh_files import check_mesh_path, write_head, write_mesh
from gptface.morphable.model import MorphableModel
from gptface.morphable.named_values import named_values
from gptface.morphable.overlays import OVERLAY_COLUMNS, overlay_strip, without_pose
from gptface.morphable.parameters import (
    FaceParameters,
    draw,
    named_parameters,
    portrait_distance,
    project_landmarks,
)
from gptface.morphable.pictures import (
    check_picture_path,
    check_picture_size,
    contact_sheet,
    portrait,
    turntable,
    write_picture,
)
from gptface.morphable.prior import expression_energy, gaussian_energy, light_energy, prior_energy
from gptface.morphable.renderer import Rendering, linear_to_srgb, render, srgb_to_linear
from gptface.morphable.rotation import (
    angles_to_matrix,
    matrix_to_angles,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from gptface.morphable.shape_arguments import named_weights

__all__ = [
    "MODEL_NAMES",
    "OVERLAY_COLUMNS",
    "FaceParameters",
    "LandmarkFit",
    "MorphableModel",
    "PerspectiveCamera",
    "Rendering",
    "WeakPerspectiveCamera",
    "add_analytic_albedo",
    "aligned",
    "ambient_light",
    "angle_errors",
    "angles_to_matrix",
    "check_mesh_path",
    "check_picture_path",
    "check_picture_size",
    "clip_to_pixels",
    "coarser",
    "contact_sheet",
    "directional_light",
    "draw",
    "expression_energy",
    "fit_landmarks",
    "fit_light",
    "gaussian_energy",
    "irradiance",
    "laplacian_modes",
    "light_energy",
    "linear_to_srgb",
    "load_morphable_model",
    "matrix_to_angles",
    "matrix_to_rotation_6d",
    "named_parameters",
    "named_values",
    "named_weights",
    "overlay_strip",
    "place",
    "portrait",
    "portrait_distance",
    "pose_of_landmarks",
    "prior_energy",
    "project_landmarks",
    "render",
    "rotation_6d_to_matrix",
    "spherical_harmonics",
    "srgb_to_linear",
    "studio_light",
    "turntable",
    "vertex_distances",
    "vertex_normals",
    "without_pose",
    "write_head",
    "write_mesh",
    "write_picture",
]
