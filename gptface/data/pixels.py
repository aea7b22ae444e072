"""The one place where 8-bit pictures become network inputs and back."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["images_to_tensor", "tensor_to_images"]


def images_to_tensor(images: np.ndarray | torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
    """uint8 ``(N, H, W, 3)`` to float32 ``(N, 3, H, W)`` in [-1, 1], channels last in memory.

    They travel to ``device`` (by default the images' own) as bytes.
    """
    if not isinstance(images, torch.Tensor):
        images = torch.from_numpy(np.ascontiguousarray(images))
    return images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def tensor_to_images(tensor: torch.Tensor) -> np.ndarray:
    """float ``(N, 3, H, W)`` in [-1, 1] to uint8 ``(N, H, W, 3)``, rounded and clipped."""
    scaled = tensor.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
