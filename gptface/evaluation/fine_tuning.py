"""Fine-tuning: AdamW with smaller rates in earlier layers, a cosine, averaged weights, chosen by held-out people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.progress import Display, format_duration
from gptface.training.averaging import MovingAverage
from gptface.training.configuration import LoopSection
from gptface.training.schedule import Budget, rate_factor

__all__ = ["Fit", "Recipe", "batch_of", "fit", "layer_depths", "parameter_groups", "planned_steps"]

# Of the second half of a training, how often the held-out people are looked at: early weights are never the best.
LOOKS = 8
MOST_GRADIENT = 1.0  # norm to which larger gradients are cut


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training rows.
        minutes: of one training at most; the rate follows the clock where it ends first.
        least_steps: however few rows there are.
        batch_size: rows a step; fewer where a quarter of the rows is less.
        learning_rate: peak, of the last layers.
        layer_decay: the rate's factor from each layer to the one before it; 1: all alike.
        weight_decay: decoupled, on matrices and kernels.
        warm_up: share of the steps.
        averaging: decay of the moving average of the weights, which is what is measured; 0: none.
        label_smoothing: of the cross-entropy.
        keep_patches: share of a picture's patches that an encoder is trained on at a time.
    """

    epochs: float = 10
    minutes: float | None = None
    least_steps: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-3
    layer_decay: float = 0.75
    weight_decay: float = 0.05
    warm_up: float = 0.1
    averaging: float = 0.99
    label_smoothing: float = 0.1
    keep_patches: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "least_steps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: got {getattr(self, name)}; it must be more than 0")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes: got {self.minutes}; they must be more than 0")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"layer_decay: got {self.layer_decay}; it must be more than 0 and at most 1")


@dataclass(frozen=True)
class Fit:
    """What a training came to.

    Attributes:
        steps: made.
        seconds: taken, looks at the held-out people included.
        looks: (step, held-out score) of each look.
        chosen_step: whose averaged weights the module has now.
        watched: (step, what ``watch`` said) of each look; it chose nothing.
    """

    steps: int
    seconds: float
    looks: tuple[tuple[int, float], ...]
    chosen_step: int
    watched: tuple[tuple[int, float], ...] = ()


def batch_of(recipe: Recipe, rows: int) -> int:
    """Rows a step."""
    return max(1, min(recipe.batch_size, max(16, rows // 4), rows))


def planned_steps(recipe: Recipe, rows: int) -> int:
    """Steps of a training on ``rows`` rows that the clock does not end."""
    return max(recipe.least_steps, math.ceil(recipe.epochs * rows / batch_of(recipe, rows)))


def layer_depths(module: nn.Module) -> tuple[dict[str, int], int]:
    """Depth of every parameter of a network: 0 for what comes before its layers, 1 and on for the layers, and the last
    number, which is returned too, for what comes after.

    The layers are the items of the module list (or sequence) that holds the most parameters; what is registered before
    it comes before. A network without one has depth 0 throughout.
    """
    lists = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and len(part) > 1
    }
    size = {name: sum(value.numel() for value in part.parameters()) for name, part in lists.items()}
    names = [name for name, _ in module.named_parameters()]
    if not size:
        return dict.fromkeys(names, 0), 0
    chosen = max(size, key=lambda name: (size[name], -len(name)))
    prefix, last = f"{chosen}." if chosen else "", len(lists[chosen]) + 1
    depths, passed = {}, False
    for name in names:
        if name.startswith(prefix):
            depths[name], passed = int(name[len(prefix) :].split(".")[0]) + 1, True
        else:
            depths[name] = last if passed else 0
    return depths, last


def parameter_groups(module: nn.Module, encoder: nn.Module | None, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's parameter groups: by depth in ``encoder``, and with or without decay."""
    depths, last = ({}, 0) if encoder is None else layer_depths(encoder)
    scales = {}
    if encoder is not None:
        scales = {
            id(value): recipe.layer_decay ** (last + 1 - depths[name]) for name, value in encoder.named_parameters()
        }
    grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
    for value in module.parameters():
        if value.requires_grad:
            key = (scales.get(id(value), 1.0), recipe.weight_decay if value.ndim >= 2 else 0.0)
            grouped.setdefault(key, []).append(value)
    return [{"params": values, "weight_decay": key[1], "scale": key[0]} for key, values in grouped.items()]


def fit(
    module: nn.Module,
    recipe: Recipe,
    rows: int,
    loss: Callable[[Tensor], Tensor],
    held_out: Callable[[], float] | None,
    *,
    encoder: nn.Module | None = None,
    seed: int = 0,
    look_first: bool = False,
    watch: Callable[[], float] | None = None,
    display: Display | None = None,
    title: str = "",
    rest: Callable[[float | None], str] = lambda own: f"remaining {format_duration(own)}",
) -> Fit:
    """Train ``module`` and leave it with the averaged weights that ``held_out`` liked best, or with the last ones.

    Args:
        rows: how many training rows there are.
        loss: of a batch, given its rows int64 ``(B,)``.
        held_out: score of the module as it is, the smaller the better; ``None``: the last weights are kept.
        encoder: the part of ``module`` whose layers learn the more slowly the earlier they are.
        seed: of order, augmentation and dropout; the caller's generators are left as they were.
        look_first: let ``held_out`` also score the module as it is given, which it may like best.
        watch: a figure of the module at each look, which is recorded and chooses nothing.
        display: where progress is told.
        rest: says what remains, given the seconds that remain of this training (``None``: not known yet).

    Raises:
        InputError: the loss is no longer finite.
    """
    display = display or Display(title, shown=False)
    steps, batch = planned_steps(recipe, rows), batch_of(recipe, rows)
    section = LoopSection(steps=steps, minutes=recipe.minutes, warmup_steps=round(recipe.warm_up * steps))
    optimizer = torch.optim.AdamW(parameter_groups(module, encoder, recipe), lr=recipe.learning_rate, betas=(0.9, 0.99))
    average = MovingAverage(module, recipe.averaging)
    looks: list[tuple[int, float]] = []
    watched: list[tuple[int, float]] = []
    best: dict[str, Tensor] | None = None
    chosen = 0

    def look() -> None:
        nonlocal best, chosen
        if held_out is None and watch is None:
            return
        module.eval()
        with average.applied(), torch.no_grad():
            if watch is not None:
                watched.append((step, watch()))
            if held_out is None:
                return
            looks.append((step, held_out()))
            if looks[-1][1] <= min(score for _, score in looks):
                best = {name: entry.detach().clone() for name, entry in module.state_dict().items()}
                chosen = step

    devices = sorted({value.device.index or 0 for value in module.parameters() if value.is_cuda})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        queue = torch.empty(0, dtype=torch.int64)
        budget, step, last_line = Budget(section), 0, time.monotonic()
        spent, before = 0.0, int(look_first)
        if look_first:
            look()
        while spent < 1:
            module.train()
            while len(queue) < batch:
                queue = torch.cat([queue, torch.randperm(rows, generator=order)])
            chosen_rows, queue = queue[:batch], queue[batch:]
            value = loss(chosen_rows)
            if not torch.isfinite(value):
                said = f"the loss of {title or 'the training'} is {float(value.detach())}"
                raise InputError(f"learning_rate: {said}; take less")
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), MOST_GRADIENT)
            factor = rate_factor(section, step, spent)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * group["scale"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
            step += 1
            spent = budget.spent(step)
            made = max(len(looks), len(watched)) - before
            if made + 1 <= LOOKS * 2 * (spent - 0.5) or spent >= 1:
                look()
            status = f"{title} step {step} loss {float(value.detach()):.3f}"
            status += f" held out {looks[-1][1]:.3f}" if looks else ""
            status += f" {rest(budget.remaining_seconds(spent))}"
            display.advance(spent, status)
            if time.monotonic() - last_line > 30:
                last_line = time.monotonic()
                display.line(status)
    if best is None:
        with average.applied():
            best = {name: entry.detach().clone() for name, entry in module.state_dict().items()}
        chosen = step
    module.load_state_dict(best)
    module.eval()
    return Fit(step, budget.seconds, tuple(looks), chosen, tuple(watched))
