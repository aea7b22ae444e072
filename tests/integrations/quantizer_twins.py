"""One of our drop-ins and its original, trained side by side on the same random numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptface.integrations.lucidrains import VectorQuantize
from gptface.ops.vq.codebook import pick_rows

STEPS = 50
DIM, SIZE = 8, 16


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(options: dict[str, Any], step: int) -> Tensor:
    rows = draw(4, 15, DIM, seed=step) + 0.5
    if options.get("accept_image_fmap"):
        return rows.reshape(4, 3, 5, DIM).permute(0, 3, 1, 2).contiguous()
    if options.get("accept_3d_fmap"):
        return rows.reshape(4, 1, 3, 5, DIM).permute(0, 4, 1, 2, 3).contiguous()
    return rows.transpose(1, 2).contiguous() if options.get("channel_last") is False else rows


def draw_as_we_do(theirs: Any, ours: VectorQuantize) -> None:
    """Give the original our rows where it draws at random: k-means' first ones, and replacements of dead codes."""

    def rows_of(number: int, step: Tensor) -> Any:
        def sample(samples: Tensor, wanted: int) -> Tensor:
            usable = torch.ones(samples.shape[:2], dtype=torch.bool)
            return pick_rows(samples, usable, number, ours.quantizer.seed, step)[0][:, :wanted]

        return sample

    theirs._codebook.sample_fn = rows_of(SIZE, torch.tensor(0))
    if hasattr(ours.quantizer, "step"):
        theirs._codebook.replace_sample_fn = rows_of(SIZE, ours.quantizer.step)


def assert_states(ours: torch.nn.Module, theirs: torch.nn.Module, step: int) -> None:
    expected, found = theirs.state_dict(), ours.state_dict()
    assert set(found) == set(expected)
    for name, module in ours.named_modules():
        if getattr(module, "learnable_codebook", False):  # nobody reads it then, and it does not always move there
            expected.pop(f"{name}.".lstrip(".") + "_codebook.embed_avg")
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].to(value.dtype),
            value,
            rtol=1e-4,
            atol=1e-5,
            msg=lambda text, name=name: f"{step} {name}: {text}",
        )


def compare(found: Any, expected: Any) -> None:
    for ours_part, theirs_part in zip(found, expected, strict=True):
        if isinstance(ours_part, tuple):
            compare(ours_part, theirs_part)
        else:
            if isinstance(theirs_part, tuple):
                theirs_part = torch.stack(theirs_part)
            torch.testing.assert_close(ours_part, theirs_part.reshape(ours_part.shape), rtol=1e-4, atol=1e-5)


def train_both(
    ours: Any, theirs: Any, optimizers: list[torch.optim.Optimizer], x: Tensor, call: dict[str, Any]
) -> tuple[Any, Any]:
    """One step of both, with the same random numbers; results and gradients are compared."""
    x, twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.manual_seed(1)
    expected = theirs(twin, **call)
    torch.manual_seed(1)
    found = ours(x, **call)
    compare(found, expected)
    for results in (found, expected):
        loss = results[1] if "indices" in call else results[2]
        (loss.mean() + results[0].sin().mean()).backward()
    if x.grad is not None or twin.grad is not None:
        torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-7)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return found, expected
