"""Heads in 3D: from named weights, and with a FaceGPT from a photo or a sentence; each as a mesh and as a command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    load_morphable_model,
    named_parameters,
    named_values,
    write_head,
)
from gptface.studio.names import readable_shape

if TYPE_CHECKING:
    from gptface.systems.facegpt.face_system import FaceSystem

__all__ = ["MESH", "MOST_SLIDERS", "FoundHead", "Head", "Heads", "ShapeSlider", "Sliders", "told_weights"]

MOST_SLIDERS = 60
"""Of a kind at once: statistical models have hundreds of modes, of which the first matter most."""
SliderKind = Literal["identity", "expression"]
KINDS = ("identity", "expression", "albedo")
MESH = "face.glb"
DEVIATIONS = 3.0
"""Standard deviations to either side that a slider of a statistical mode goes."""
TOLD, LEAST_TOLD = 4, 0.1
"""How many expression shapes a line tells, and from which weight on."""


@dataclass(frozen=True)
class ShapeSlider:
    """One shape of a model as a slider shows it: its name and its least and largest weight."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Sliders:
    """Some shapes of a kind: those that are shown, how many are called so, and how many there are."""

    shown: tuple[ShapeSlider, ...]
    fitting: int
    all: int

    @property
    def told(self) -> str:
        """Which are shown, where that is not all of them; else empty."""
        if len(self.shown) == self.all:
            return ""
        if not self.shown:
            return f"None of {self.all} is called so."
        first, last = (readable_shape(shape.name) for shape in (self.shown[0], self.shown[-1]))
        which = first if len(self.shown) == 1 else f"{first} to {last}"
        others = ". Find others by name." if len(self.shown) < self.fitting else "."
        return f"{len(self.shown)} of {self.all}: {which}{others}"


@dataclass(frozen=True, eq=False)
class Head:
    """A head by its weights, name → weight; what is not named is 0."""

    model: str
    identity: Mapping[str, float] = field(default_factory=dict)
    expression: Mapping[str, float] = field(default_factory=dict)
    albedo: Mapping[str, float] = field(default_factory=dict)

    def changed(self, identity: Mapping[str, float], expression: Mapping[str, float]) -> Head:
        """With the weights of sliders as they are given; shapes that no slider shows keep theirs."""
        return replace(
            self,
            identity=told_weights({**self.identity, **identity}),
            expression=told_weights({**self.expression, **expression}),
        )

    def command(self) -> str:
        """The command line that writes the mesh."""
        words = ["gptface", "face3d"] if self.model == "synthetic" else ["gptface", "face3d", "--model", self.model]
        for kind in KINDS:
            weights = told_weights(getattr(self, kind))
            if weights:
                words += [f"--{kind}", *(f"{name}={weight:g}" for name, weight in weights.items())]
        return shlex.join([*words, "--output", MESH])


@dataclass(frozen=True)
class FoundHead:
    """What a FaceGPT made.

    Attributes:
        head: by its weights, where the page has sliders for its model.
        told: a line about it.
        command: the command line that writes its mesh.
    """

    head: Head | None
    told: str
    command: str


def told_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights as they are shown and written: two decimals, and none that is 0 then."""
    rounded = {name: round(float(weight), 2) for name, weight in weights.items()}
    return {name: weight for name, weight in rounded.items() if weight != 0}


class Heads:
    """Morphable models by name or path, read when they are first asked for, and a FaceGPT where there is one.

    Args:
        models: names or paths, as ``gptface face3d --model`` takes them; the first is shown first.
        facegpt: a trained system of heads.
        folder: of that system, for the command line.
        device: where that system runs, for the command line.
    """

    def __init__(
        self,
        models: Sequence[str] = ("synthetic",),
        facegpt: FaceSystem | None = None,
        folder: str = "",
        device: str = "cpu",
    ) -> None:
        self.models = tuple(models)
        self.facegpt = facegpt
        self._options = ["--system", folder] if device == "cpu" else ["--system", folder, "--device", device]
        self._loaded: dict[str, MorphableModel] = {}

    def morphable(self, name: str) -> MorphableModel:
        """The model of that name.

        Raises:
            InputError: not one of those that the studio was started with, or it cannot be read.
        """
        if name not in self.models:
            raise InputError(f"There is no morphable model {name!r} here; there are {', '.join(self.models)}.")
        if name not in self._loaded:
            self._loaded[name] = load_morphable_model(name)
        return self._loaded[name]

    def sliders(self, name: str, kind: SliderKind, called: str = "") -> Sliders:
        """The first shapes of a kind: 0 to 1 of blendshapes, ± 3 standard deviations of the others.

        Args:
            name: of the model.
            kind: of the shapes.
            called: part of a name, as the model or the page has it; only what is called so is shown.
        """
        model = self.morphable(name)
        names: tuple[str, ...] = getattr(model, f"{kind}_names")
        blendshapes = kind == "expression" and model.expression_kind == "blendshape"
        low, high = (0.0, 1.0) if blendshapes else (-DEVIATIONS, DEVIATIONS)
        part = called.strip().casefold()
        fitting = [each for each in names if part in f"{each}\n{readable_shape(each)}".casefold()]
        shown = tuple(ShapeSlider(each, low, high) for each in fitting[:MOST_SLIDERS])
        return Sliders(shown, len(fitting), len(names))

    def somebody(self, name: str, seed: int) -> Head:
        """A head of nobody: its identity drawn from the model's own spread."""
        names = self.morphable(name).identity_names
        drawn = np.random.default_rng(seed).standard_normal(len(names)).clip(-DEVIATIONS, DEVIATIONS)
        return Head(name, identity=told_weights(dict(zip(names, drawn.tolist(), strict=True))))

    def write(self, head: Head, path: Path) -> None:
        """Write the head's mesh, as its command does."""
        model = self.morphable(head.model)
        weights = {kind: told_weights(getattr(head, kind)) for kind in KINDS}
        write_head(path, model, named_parameters(model, **weights))

    def of_photo(self, photo: np.ndarray, path: Path) -> FoundHead:
        """Write the head of a photo.

        Raises:
            InputError: there is no FaceGPT, or no face is found.
        """
        system = self._system()
        parameters = system.reconstruct([photo], names=["the picture"])
        likeness = system.likeness([photo], parameters)[0]
        return self._found(parameters, path, ["reconstruct", "gptface.png"], f"likeness {likeness:.2f}")

    def of_words(self, words: str, path: Path) -> FoundHead:
        """Write the head of a sentence.

        Raises:
            InputError: there is no FaceGPT, or there are no words.
        """
        if not words:
            raise InputError("Describe a face first.")
        parameters = self._system().sculpt(words)
        caption = [f"--caption={words}"] if words.startswith("-") else ["--caption", words]
        return self._found(parameters, path, ["sculpt", *caption], "")

    def _system(self) -> FaceSystem:
        if self.facegpt is None:
            raise InputError("Heads of photos and sentences need a FaceGPT: start the studio with --facegpt DIR.")
        return self.facegpt

    def _found(self, parameters: FaceParameters, path: Path, command: Sequence[str], told: str) -> FoundHead:
        """Write the mesh, facing forward as the commands' is."""
        system = self._system()
        write_head(path, system.morphable, parameters, turned=False)
        values = named_values(system.morphable, parameters)[0]
        strongest = sorted(values["expression"].items(), key=lambda item: -abs(item[1]))[:TOLD]
        shapes = ", ".join(f"{name} {weight:.2f}" for name, weight in strongest if abs(weight) >= LEAST_TOLD)
        line = "; ".join(part for part in (shapes or "a neutral face", told) if part)
        words = shlex.join(["gptface", *command, *self._options, "--output", MESH])
        return FoundHead(self._with_sliders(values), line, words)

    def _with_sliders(self, values: Mapping[str, Mapping[str, float]]) -> Head | None:
        """The head by its weights, where one of the models has its shapes."""
        assert self.facegpt is not None
        theirs = self.facegpt.morphable
        for name in self.models:
            model = self.morphable(name)
            alike = model.vertex_count == theirs.vertex_count and model.name == theirs.name
            if alike and all(getattr(model, f"{kind}_names") == getattr(theirs, f"{kind}_names") for kind in KINDS):
                return Head(name, **{kind: told_weights(values[kind]) for kind in KINDS})
        return None
