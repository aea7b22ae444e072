"""What a trained model makes of faces whose patches are masked, batch after batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gptface.data.pixels import images_to_tensor
from gptface.evaluation.face_set import FaceSet
from gptface.systems.pacofr.masking import draw_mask
from gptface.systems.pacofr.model import PaCoFR, PaCoFROutput

__all__ = ["masked_batches"]

BATCH = 64


@torch.inference_mode()
def masked_batches(model: PaCoFR, faces: FaceSet, ratio: float, seed: int) -> Iterator[PaCoFROutput]:
    """The model's outputs for all faces in order, patches masked at random: masks are a function of seed and sample.

    Args:
        model: in evaluation mode; faces go to its device.
        faces: of its size.
        ratio: share of the patches that is masked.
        seed: of the masks, and of what the model draws (codes at random, which patches have a token).
    """
    ids = torch.from_numpy(np.array([sample.sample_id for sample in faces.samples], dtype=np.int64))
    for start in range(0, len(ids), BATCH):
        images = images_to_tensor(faces.images[start : start + BATCH], model.device)
        batch_ids = ids[start : start + BATCH].to(model.device)
        mask = draw_mask(None, batch_ids, model.config.grid, ratio, seed=seed, step=0)
        with torch.random.fork_rng():
            torch.manual_seed(seed + start)
            out = model(images, mask)
        yield out
