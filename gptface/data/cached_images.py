"""From a face cache to what a network takes: the images and region maps that a batch names."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.data.cache import FaceCache
from gptface.data.cached_batches import Selection
from gptface.data.pixels import images_to_tensor

__all__ = ["cached_images", "cached_regions"]


def cached_images(cache: FaceCache, selection: Selection, device: torch.device) -> Tensor:
    """The images that ``selection`` names, mirrored as it says, as network inputs."""
    images = cache.image_tensor[selection.indices]
    if bool(selection.flips.any()):
        images = torch.where(selection.flips[:, None, None, None], images.flip(2), images)
    return images_to_tensor(images, device)


def cached_regions(cache: FaceCache, selection: Selection, device: torch.device) -> Tensor:
    """The region maps, uint8 (B, H, W), of the images that ``selection`` names, mirrored like them."""
    assert cache.region_maps is not None
    maps = torch.from_numpy(cache.region_maps[selection.indices.numpy()])
    return torch.where(selection.flips[:, None, None], maps.flip(2), maps).to(device, non_blocking=True)
