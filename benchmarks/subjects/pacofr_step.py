"""One training step of PaCo-FR: drawing masks, forward, loss, backward, AdamW; beside a plain masked autoencoder."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.contender import BASELINE, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.peers.plain_masked_autoencoder import PlainMaskedAutoencoder
from benchmarks.shapes import pacofr_shapes
from gptface.faces.regions import REGIONS
from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.models.transformer_layer import SelfAttention
from gptface.systems.pacofr import PaCoFR, PaCoFRConfig
from gptface.systems.pacofr.configuration import PaCoFRSection
from gptface.systems.pacofr.objective import MaskedFaces, PaCoFRObjective, cells_a_side
from gptface.systems.pacofr.training import step_flops
from gptface.training.hardware import has_fast_bf16, peak_flops
from gptface.training.stage import Moment

__all__ = ["PaCoFRStep", "Step"]

RATIO = 0.75

# ‖gradient − oracle's‖ / ‖…‖ over all parameters that both have, and the same of the loss.
GRADIENT_LIMIT = {torch.float32: 1e-4, torch.bfloat16: 0.1}
LOSS_LIMIT = {torch.float32: 1e-5, torch.bfloat16: 1e-2}

# What a step computes: only the pixel loss, of masked patches with one mask token or with tokens from beliefs; or all
# of PaCo-FR's losses and masks of facial regions, as `gptface train pacofr` does by default.
KINDS: dict[str, dict[str, Any]] = {
    "pixels": {"masks": {"regions": False}, "losses": {"incubation": 0, "relation": 0, "layout": 0, "alignment": 0}},
    "beliefs": {"masks": {"regions": False}, "losses": {"incubation": 0, "relation": 0, "layout": 0, "alignment": 0}},
    "all": {},
}


class Step(NamedTuple):
    """Loss and gradients by the parameters' names, of a kind of step."""

    kind: str
    loss: Tensor
    gradients: dict[str, Tensor]


@dataclass
class _Problem:
    settings: Mapping[str, Any]
    device: torch.device
    faces: MaskedFaces
    weights: dict[str, dict[str, Tensor]]

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.settings["dtype"])

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def config(self, kind: str) -> PaCoFRConfig:
        codes = "none" if kind == "pixels" else "belief"
        return getattr(PaCoFRConfig, self.settings["preset"])(codes=codes)

    def section(self, kind: str) -> PaCoFRSection:
        given = KINDS[kind]
        masks = {"ratio": RATIO, **given.get("masks", {})}
        return PaCoFRSection(preset=self.settings["preset"], masks=masks, losses=given.get("losses", {}))

    def model(self, kind: str) -> PaCoFR:
        """A model of its own with the problem's weights."""
        model = PaCoFR(self.config(kind)).to(self.device)
        model.load_state_dict(self.weights[kind])
        return model.train()

    def objective(self, kind: str, model: PaCoFR) -> PaCoFRObjective:
        """The losses and, where there are some, their heads, the same every time."""
        return PaCoFRObjective(model, self.section(kind), steps_an_epoch=100).to(self.device)

    @functools.cached_property
    def oracles(self) -> dict[str, Step]:
        """In float32: of the plain autoencoder; of all losses, of ours with the reference attention."""
        steps = {kind: self.plain(kind) for kind in ("pixels", "beliefs")}
        model = self.model("all")
        for module in model.modules():
            if isinstance(module, SelfAttention):
                module.impl = "reference"
        steps["all"] = self.own("all", model)
        found = {}
        for kind, (module, loss) in steps.items():
            value = loss()
            value.backward()
            found[kind] = _step(kind, module, value)
        return found

    def own(self, kind: str, model: PaCoFR) -> tuple[nn.Module, Callable[[], Tensor]]:
        """What is trained, and its loss, masks drawn afresh in every call."""
        objective = self.objective(kind, model)
        return objective, lambda: objective(self.faces, Moment(0, 0, 0.0))[0]

    def plain(self, kind: str) -> tuple[PlainMaskedAutoencoder, Callable[[], Tensor]]:
        """The same of the plain autoencoder."""
        model = self.model(kind)
        masked = self.objective(kind, model).mask(self.faces, Moment(0, 0, 0.0)).masked
        plain = PlainMaskedAutoencoder(self.config(kind), RATIO).to(self.device).train()
        unknown = plain.load_state_dict(self.weights[kind], strict=False).missing_keys
        assert not unknown, unknown
        return plain, lambda: plain(self.faces.images, masked)


def _step(kind: str, module: nn.Module, loss: Tensor) -> Step:
    found = {
        name.removeprefix("model."): torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.float()
        for name, parameter in module.named_parameters()
    }
    return Step(kind, loss.detach().float(), found)


class PaCoFRStep(Subject):
    name = "pacofr_step"
    title = "PaCo-FR's training step"
    size_label = "pictures in a batch"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        fast_bf16 = device.type == "cuda" or has_fast_bf16(device)
        shapes = pacofr_shapes(scale, device.type, fast_bf16)
        return [Case(shape.name, shape.batch, dataclasses.asdict(shape), headline=True) for shape in shapes]

    def problem(self, case: Case, device: torch.device) -> _Problem:
        problem = _Problem(case.settings, device, _faces(case.settings, device), {})
        for kind in KINDS:
            torch.manual_seed(0)
            problem.weights[kind] = PaCoFR(problem.config(kind)).to(device).state_dict()
        return problem

    def contenders(self, case: Case) -> Sequence[Contender]:
        found = []
        for kind, name in (("pixels", BASELINE), ("beliefs", "gptface, beliefs"), ("all", "gptface, all losses")):
            for compiled in (False, True):
                whole = f"{name}, compiled" if compiled else name
                found.append(Contender(whole, "gptface", functools.partial(_prepare, kind=kind, compiled=compiled)))
        for kind, name in (("pixels", "plain PyTorch"), ("beliefs", "plain PyTorch, beliefs")):
            for compiled in (False, True):
                whole = f"{name}, compiled" if compiled else name
                prepare = functools.partial(_prepare_plain, kind=kind, compiled=compiled)
                found.append(Contender(whole, "torch", prepare))
        return found

    def gate(self, problem: _Problem, outputs: Step) -> Verdict:
        oracle = problem.oracles[outputs.kind]
        shared = [name for name in outputs.gradients if name in oracle.gradients]
        distance = sum(float((outputs.gradients[name] - oracle.gradients[name]).square().sum()) for name in shared)
        size = sum(float(oracle.gradients[name].square().sum()) for name in shared)
        errors = {
            "loss_error": abs(float(outputs.loss) / float(oracle.loss) - 1),
            "gradient_error": math.sqrt(distance / size),
        }
        limits = {"loss_error": LOSS_LIMIT[problem.dtype], "gradient_error": GRADIENT_LIMIT[problem.dtype]}
        failures = [
            f"{name.replace('_', ' ')} {error:.1e}, allowed {limits[name]:.0e}"
            for name, error in errors.items()
            if not error <= limits[name]
        ]
        return Verdict(errors, "; ".join(failures))

    def work(self, problem: _Problem) -> dict[str, float]:
        pictures = problem.settings["batch"]
        flop = pictures * step_flops(problem.config("pixels"), problem.section("pixels"))
        precision = "bf16" if problem.dtype == torch.bfloat16 else "no"
        return {"pictures": pictures, "flop": flop, "peak_flop/s": peak_flops(problem.device, precision)}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        """MFU counts the masked autoencoder's operations for every contender."""
        return {
            "pictures/s": work["pictures"] / seconds,
            "MFU %": 100 * work["flop"] / seconds / work["peak_flop/s"],
        }


def _faces(settings: Mapping[str, Any], device: torch.device) -> MaskedFaces:
    """Random pixels, and random regions of the patches and of their cells."""
    config = getattr(PaCoFRConfig, settings["preset"])()
    generator = torch.Generator().manual_seed(0)
    batch, size = settings["batch"], config.image_size
    images = 2 * torch.rand(batch, config.channels, size, size, generator=generator) - 1
    regions = torch.randint(len(TOKEN_REGIONS), (batch, config.num_patches), generator=generator)
    cells = torch.randint(len(REGIONS), (batch, config.num_patches, cells_a_side(config) ** 2), generator=generator)
    ids = torch.arange(batch, device=device)
    return MaskedFaces(images.to(device), ids, regions.to(device), cells.to(torch.uint8).to(device))


def _prepare(problem: _Problem, kind: str, compiled: bool) -> Prepared:
    model = problem.model(kind)
    _compile(model, compiled)
    return _prepare_step(problem, kind, *problem.own(kind, model))


def _prepare_plain(problem: _Problem, kind: str, compiled: bool) -> Prepared:
    model, loss = problem.plain(kind)
    _compile(model, compiled)
    return _prepare_step(problem, kind, model, loss)


def _compile(model: PaCoFR | PlainMaskedAutoencoder, wanted: bool) -> None:
    """The layers, as a training with ``compile`` does."""
    for layer in [*model.encoder.layers, *model.decoder_layers] if wanted else []:
        layer.compile(dynamic=False)


def _prepare_step(problem: _Problem, kind: str, module: nn.Module, loss: Callable[[], Tensor]) -> Prepared:
    # A learning rate of 0: the optimiser does its work, and every step starts from the same weights.
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0, fused=True)

    def run(_: None) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with problem.autocast():
            value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return Prepared(run, None, lambda value: _step(kind, module, value))
