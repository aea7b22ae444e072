"""The one place where 8-bit pictures become network inputs and back."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["images_to_tensor", "pixel_levels", "tensor_to_images"]


def images_to_tensor(images: np.ndarray | torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
    """uint8 ``(…, H, W, 3)`` to float32 ``(…, 3, H, W)`` in [-1, 1], channels last in memory.

    They travel to ``device`` (by default the images' own) as bytes.
    """
    if not isinstance(images, torch.Tensor):
        images = torch.from_numpy(np.ascontiguousarray(images))
    return images.to(device, non_blocking=True).movedim(-1, -3).float().div_(127.5).sub_(1)


def tensor_to_images(tensor: torch.Tensor) -> np.ndarray:
    """float ``(…, 3, H, W)`` in [-1, 1] to uint8 ``(…, H, W, 3)``, rounded and clipped."""
    return pixel_levels(tensor).round().clamp(0, 255).to(torch.uint8).contiguous().cpu().numpy()


def pixel_levels(tensor: torch.Tensor) -> torch.Tensor:
    """float ``(…, 3, H, W)`` in [-1, 1] to float32 ``(…, H, W, 3)`` in [0, 255], for who goes on calculating."""
    return tensor.detach().float().add(1).mul(127.5).movedim(-3, -1)
