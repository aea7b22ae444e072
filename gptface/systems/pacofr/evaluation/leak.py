"""The work of ``gptface evaluate leak``: what the tokens of trained models give away, and what the models predict.

Tokens are made from the pixels that they stand for. A token that tells its patch leaves the encoder nothing to find out
from the patches around it; one that tells nothing is a mask token. Which K and k lie well between is read off here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.evaluation.device import pick_device
from gptface.evaluation.face_set import FaceSet, shard_faces
from gptface.evaluation.numbers import write_numbers
from gptface.systems.pacofr.evaluation.masked_batches import masked_batches
from gptface.systems.pacofr.evaluation.patch_network import fit_patch_network
from gptface.systems.pacofr.leak import linear_decoder
from gptface.systems.pacofr.model import PaCoFR

__all__ = ["LeakRequest", "leak_table", "measure_leak"]

# Patches that the maps from tokens to pixels are fitted on: many for each of 4,096 codes, and seconds a model.
FITTED = 65_536

COLUMNS = (
    ("pixel error", "pixel_error", ".4f"),
    ("leak, linear", "leak_linear", ".3f"),
    ("leak, network", "leak_network", ".3f"),
    ("random codes", "leak_random_codes", ".3f"),
    ("usage", "code_usage", ".3f"),
    ("perplexity", "code_perplexity", ".1f"),
    ("entropy", "belief_entropy", ".3f"),
)


@dataclass(frozen=True)
class LeakRequest:
    """Models and the faces to measure them on; the fields are the options of ``gptface evaluate leak``.

    Attributes:
        models: folders that ``gptface train pacofr`` leaves, ``model``.
        faces: held out from all of them.
        train: that the maps from tokens to pixels are fitted on; ``None``: the first half of ``faces``, and measured is
            on the second.
        count: of each at most.
        ratio: share of the patches that is masked.
        seed: of masks, random codes and the network.
    """

    models: Sequence[Path]
    faces: Sequence[str]
    train: Sequence[str] | None = None
    count: int = 1000
    ratio: float = 0.75
    seed: int = 0
    device: str = "auto"
    output: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"count: got {self.count}; allowed: at least 2")
        if not 0 < self.ratio < 1:
            raise InputError(f"ratio: got {self.ratio}; allowed: more than 0 and less than 1")


class _Patches(NamedTuple):
    """M masked patches: tokens (M, D), or ``None``; targets (M, P); best candidates (M,) and the beliefs' entropy."""

    tokens: Tensor | None
    targets: Tensor
    best: Tensor | None
    entropy: float | None
    pixel_error: float


def measure_leak(request: LeakRequest) -> dict[str, Any]:
    """Measure all models, and write ``request.output`` if it is given: ``{"settings": …, "rows": [a model each]}``.

    Leaks are shares of the held-out patches' variance, about the mean patch of the fitted ones, that is explained by a
    patch's own token: 0 without a token, 1 where it is all told, slightly below 0 where a fit found what is not there.

    Raises:
        InputError: a folder that holds no such model, no usable faces, or too few of them to fit on.
    """
    device = pick_device(request.device)
    models = [PaCoFR.from_pretrained(folder).eval() for folder in request.models]
    for folder, model in zip(request.models, models, strict=True):
        masked = round(request.ratio * model.config.num_patches)
        if not 0 < masked < model.config.num_patches:
            raise InputError(f"ratio: {request.ratio} of {model.config.num_patches} patches ({folder}) is none or all")
    faces: dict[int, tuple[FaceSet, FaceSet]] = {}
    rows = []
    for folder, model in zip(request.models, models, strict=True):
        size = model.config.image_size
        if size not in faces:
            faces[size] = _faces(request, size)
        row = _identity(folder, model)
        row |= _measure(model.to(device), *faces[size], request.ratio, request.seed)
        model.cpu()
        rows.append(row)
    settings = {"ratio": request.ratio, "seed": request.seed, "faces": list(request.faces)}
    settings["train"] = list(request.train) if request.train else "the first half of the faces"
    summary = {"settings": settings, "rows": rows}
    if request.output is not None:
        write_numbers(request.output, summary)
    return summary


def leak_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of :func:`measure_leak` as an aligned table, heading first; "–" where there is nothing to measure."""
    headings = ["model", "tokens", "encodes", "K", "k", *(heading for heading, _, _ in COLUMNS)]
    cells = [headings]
    for row in rows:
        tokens = f"{row['codes']}, straight through" if row["straight_through"] else row["codes"]
        if row["token_share"] < 1 and row["codes"] != "none":
            tokens += f", of {row['token_share']:.0%}"
        has_codes = row["codes"] != "none"
        identity = [row["model"], tokens, row["encodes"], str(row["codebook_size"]) if has_codes else "–"]
        identity.append(str(row["candidates"]) if row["codes"] == "belief" else "–")
        cells.append(identity + ["–" if row[key] is None else format(row[key], form) for _, key, form in COLUMNS])
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _faces(request: LeakRequest, size: int) -> tuple[FaceSet, FaceSet]:
    """Faces to fit on and faces to measure on."""
    held_out = shard_faces(request.faces, size, request.count)
    if request.train:
        return shard_faces(request.train, size, request.count), held_out
    half = len(held_out.samples) // 2
    if not half:
        raise InputError("faces: only one can be used; give more, or others to fit on as train")
    return _part(held_out, slice(0, half)), _part(held_out, slice(half, None))


def _part(faces: FaceSet, which: slice) -> FaceSet:
    return FaceSet(faces.images[which], faces.captions[which], faces.samples[which], {})


def _identity(folder: Path, model: PaCoFR) -> dict[str, Any]:
    config = model.config
    names = ("codes", "encodes", "codebook_size", "candidates", "code_dim", "straight_through", "token_share")
    return {"model": str(folder), **{name: getattr(config, name) for name in names}}


def _measure(model: PaCoFR, fitted: FaceSet, held_out: FaceSet, ratio: float, seed: int) -> dict[str, Any]:
    measured = _collect(model, held_out, ratio, seed)
    found: dict[str, Any] = {
        "pixel_error": measured.pixel_error,
        "leak_linear": 0.0,
        "leak_network": 0.0,
        "leak_random_codes": None,
        "code_usage": None,
        "code_perplexity": None,
        "belief_entropy": measured.entropy,
        "faces": len(held_out.samples),
        "patches": len(measured.targets),
    }
    if measured.tokens is None or model.belief is None:
        return found
    known = _collect(model, fitted, ratio, seed, limit=FITTED)
    assert known.tokens is not None
    least = 2 * (known.tokens.shape[1] + 1)
    if len(known.targets) < least:
        raise InputError(f"train: its faces give {len(known.targets)} patches to fit on; allowed: at least {least}")
    linear = linear_decoder(known.tokens, known.targets)
    about = linear.patch
    found["leak_linear"] = _explained(linear(measured.tokens), measured.targets, about)
    network = fit_patch_network(known.tokens, known.targets, seed)
    found["leak_network"] = _explained(_applied(network, measured.tokens), measured.targets, about)
    codes = model.belief.codebook.codebook.detach()
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(len(codes), (len(part.targets),), generator=generator) for part in (known, measured)]
    network = fit_patch_network(codes[drawn[0].to(codes.device)], known.targets, seed)
    random_codes = _applied(network, codes[drawn[1].to(codes.device)])
    found["leak_random_codes"] = _explained(random_codes, measured.targets, about)
    if measured.best is not None:
        shares = torch.bincount(measured.best, minlength=len(codes)).double() / len(measured.best)
        found["code_usage"] = float((shares > 0).double().mean())
        found["code_perplexity"] = float(torch.special.entr(shares).sum().exp())
    return found


def _collect(model: PaCoFR, faces: FaceSet, ratio: float, seed: int, limit: int | None = None) -> _Patches:
    """The masked patches of the faces, or of as many of the first ones as have ``limit`` patches."""
    tokens, targets, best = [], [], []
    error = entropy = 0.0
    count = 0
    for out in masked_batches(model, faces, ratio, seed):
        assert out.predicted is not None and out.targets is not None
        count += len(out.targets)
        targets.append(out.targets)
        error += float((out.predicted.float() - out.targets).square().mean(1).sum())
        if out.tokens is not None:
            tokens.append(out.tokens.float())
        if out.beliefs is not None:
            best.append(out.beliefs.candidates[:, 0])
            entropy += float(torch.special.entr(out.beliefs.weights).sum())
        if limit is not None and count >= limit:
            break
    return _Patches(
        torch.cat(tokens)[:limit] if tokens else None,
        torch.cat(targets)[:limit],
        torch.cat(best)[:limit] if best else None,
        entropy / count if best else None,
        error / count,
    )


@torch.inference_mode()
def _applied(network: nn.Module, tokens: Tensor) -> Tensor:
    return torch.cat([network(part) for part in tokens.split(8192)])


def _explained(predicted: Tensor, targets: Tensor, mean_patch: Tensor) -> float:
    """1 − the square error of the prediction over that of the mean patch."""
    error, total = (predicted - targets).double().square().sum(), (targets - mean_patch).double().square().sum()
    return float(1 - error / total.clamp_min(1e-12))
