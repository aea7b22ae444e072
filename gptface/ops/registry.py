"""Which implementations of which operator exist, which of them can run here, and which one a call takes.

An operator registers its implementations with a probe: a function without arguments that returns ``None`` where the
implementation can run, and otherwise the reason why it cannot. Registering imports no backend. Every operator's call
then chooses among them by :func:`choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gptface.ops import proofs

__all__ = ["Implementation", "Preference", "choose", "implementations", "register_implementation", "ruled_out"]

Probe = Callable[[], "str | None"]


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operator, as it stands on this machine.

    Attributes:
        operator: the operator's public name, such as ``"vq_lookup"``.
        name: what ``impl=`` takes, such as ``"reference"``.
        available: whether it can run here.
        reason: why not, or an empty string.
        description: one line on what it is.
    """

    operator: str
    name: str
    available: bool
    reason: str
    description: str


class Preference(NamedTuple):
    """A line of an operator's table of what ``impl="auto"`` takes: an implementation, and why it stands there."""

    implementation: str
    reason: str


class _Registered(NamedTuple):
    probe: Probe
    description: str
    proof: str | None


_registered: dict[tuple[str, str], _Registered] = {}


def register_implementation(
    operator: str, name: str, probe: Probe, description: str, proof: str | None = None
) -> None:
    """Record implementation ``name`` of ``operator``; the probe runs only when somebody asks.

    Args:
        probe: why it cannot run here, or ``None``.
        proof: the family of GPU kernels (:func:`gptface.kernels.inventory.family`) that must be proven on the device
            before ``impl="auto"`` takes it; ``None`` for what runs on no GPU kernel of the project.
    """
    _registered[(operator, name)] = _Registered(probe, description, proof)


def implementations(operator: str | None = None) -> list[Implementation]:
    """Every implementation of every operator (or of one), whether it can run here and, if not, the reason."""
    found = []
    for (owner, name), entry in _registered.items():
        if operator in (None, owner):
            reason = entry.probe()
            found.append(Implementation(owner, name, reason is None, reason or "", entry.description))
    return found


def choose(
    operator: str,
    impl: str,
    preferences: Iterable[Preference],
    obstacle: Callable[[str], str | None],
    device_index: int | None = None,
) -> Preference:
    """The implementation that a call of ``operator`` runs, and why.

    A named one runs or raises. ``"auto"`` is the first of ``preferences`` that can run this call and is proven; that
    one was passed over for want of a proof is said once in a process.

    Args:
        impl: what the caller asked for.
        preferences: best first; the last can run every call.
        obstacle: why an implementation cannot run this call, or ``None``. Asked about no more than it takes to decide.
        device_index: of the CUDA device that the inputs are on.

    Raises:
        ValueError: for an ``impl`` that the operator does not have.
        RuntimeError: for a named one that cannot run here, or cannot run this call.
    """
    if impl == "auto":
        for line in preferences:
            if obstacle(line.implementation) is not None:
                continue
            family = _registered[(operator, line.implementation)].proof
            if family is None or proofs.unproven(family, device_index) is None:
                return line
            proofs.warn_of(family, device_index)
        raise RuntimeError(f"{operator}: no implementation can run this call")
    _available_or_raise(operator, impl)
    reason = obstacle(impl)
    if reason is not None:
        raise RuntimeError(f"{operator}: impl={impl!r} cannot run this call: {reason}")
    return Preference(impl, "asked for by name")


def ruled_out(
    operator: str, name: str, obstacle: Callable[[str], str | None], device_index: int | None = None
) -> str | None:
    """Why ``impl="auto"`` cannot take implementation ``name`` for a call; ``None`` where it can."""
    reason = obstacle(name)
    family = _registered[(operator, name)].proof
    if reason is not None or family is None:
        return reason
    return proofs.unproven(family, device_index)


def _available_or_raise(operator: str, name: str) -> None:
    if (operator, name) not in _registered:
        known = ", ".join(repr(other) for owner, other in _registered if owner == operator)
        raise ValueError(f"{operator}: impl={name!r} is not known; allowed: 'auto', {known}")
    reason = _registered[(operator, name)].probe()
    if reason is not None:
        raise RuntimeError(f"{operator}: impl={name!r} cannot run here: {reason}")
