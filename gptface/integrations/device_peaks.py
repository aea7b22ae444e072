"""Peak rates of accelerators, which an MFU is a share of.

Dense matrix products with accumulation in float32, as the makers' data sheets give them at boost clock; where a sheet
gives only the rate "with sparsity", half of it.
"""

from __future__ import annotations

import re

import torch

__all__ = ["peak_flops_of", "precision_of_products"]

# Pattern of the whole device name as torch gives it, then TFLOP/s by precision. A slice of a device (MIG) matches none.
_H100_SXM = {"bf16": 989.4, "fp16": 989.4, "tf32": 494.7, "fp32": 66.9}
_H100_NVL = {"bf16": 835.5, "fp16": 835.5, "tf32": 417.5, "fp32": 60.0}
_PEAKS: list[tuple[str, dict[str, float]]] = [
    (r"NVIDIA B200", {"bf16": 2250.0, "fp16": 2250.0, "tf32": 1125.0, "fp32": 75.0}),
    (r"NVIDIA (GH200 480GB|H200|H100 80GB HBM3)", _H100_SXM),
    (r"NVIDIA (H200|H100) NVL", _H100_NVL),
    (r"NVIDIA H100 PCIe", {"bf16": 756.0, "fp16": 756.0, "tf32": 378.0, "fp32": 51.2}),
    (r"NVIDIA A100[- ].*", {"bf16": 312.0, "fp16": 312.0, "tf32": 156.0, "fp32": 19.5}),
    (r"NVIDIA A40", {"bf16": 149.7, "fp16": 149.7, "tf32": 74.8, "fp32": 37.4}),
    (r"NVIDIA A30", {"bf16": 165.0, "fp16": 165.0, "tf32": 82.0, "fp32": 10.3}),
    (r"NVIDIA A10", {"bf16": 125.0, "fp16": 125.0, "tf32": 62.5, "fp32": 31.2}),
    (r"NVIDIA L40S", {"bf16": 362.0, "fp16": 362.0, "tf32": 183.0, "fp32": 91.6}),
    (r"NVIDIA L40", {"bf16": 181.0, "fp16": 181.0, "tf32": 90.5, "fp32": 90.5}),
    (r"NVIDIA L4", {"bf16": 121.0, "fp16": 121.0, "tf32": 60.0, "fp32": 30.3}),
    (r"Tesla T4", {"fp16": 65.0, "fp32": 8.1}),
    (r"Tesla V100-SXM2-.*", {"fp16": 125.0, "fp32": 15.7}),
    (r"Tesla V100-PCIE-.*", {"fp16": 112.0, "fp32": 14.0}),
    (r"AMD Instinct MI300X.*", {"bf16": 1307.4, "fp16": 1307.4, "tf32": 653.7, "fp32": 163.4}),
]


def peak_flops_of(device: torch.device, precision: str) -> tuple[float | None, str]:
    """Operations a second that ``device`` reaches at most, and, where that is not known, why.

    Args:
        precision: of the operands of matrix products: ``bf16``, ``fp16``, ``tf32`` or ``fp32``.

    Returns:
        the peak and an empty text, or ``None`` and a clause for a message.
    """
    if device.type != "cuda":
        return None, f"the peak of a device of type {device.type!r} is not in the table of peaks"
    name = torch.cuda.get_device_name(device)
    for pattern, rates in _PEAKS:
        if re.fullmatch(pattern, name) and "MIG" not in name:
            if precision in rates:
                return rates[precision] * 1e12, ""
            return None, f"the peak of {name!r} in {precision} is not in the table of peaks"
    return None, f"the peak of {name!r} is not in the table of peaks"


def precision_of_products(device: torch.device, autocast: str | None, weights: torch.dtype) -> str:
    """What matrix products of a training compute in.

    Args:
        autocast: ``bf16`` or ``fp16`` under mixed precision, else ``None``.
        weights: dtype of the model's parameters.
    """
    if autocast is not None:
        return autocast
    lowered = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    if weights in lowered:
        return lowered[weights]
    return "tf32" if device.type == "cuda" and torch.get_float32_matmul_precision() != "highest" else "fp32"
