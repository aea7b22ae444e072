"""Which implementations of which operator exist, which of them can run here, and which one a call takes.

An operator registers its implementations with a probe: a function without arguments that returns ``None`` where the
implementation can run, and otherwise the reason why it cannot. Registering imports no backend. Every operator's call
then chooses among them by :func:`choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

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
    unproven: Probe


_registered: dict[tuple[str, str], _Registered] = {}


def _proven() -> None:
    return None


def register_implementation(
    operator: str, name: str, probe: Probe, description: str, unproven: Probe = _proven
) -> None:
    """Record implementation ``name`` of ``operator``; the probes run only when somebody asks.

    Args:
        probe: why it cannot run here, or ``None``.
        unproven: why ``impl="auto"`` leaves it alone though it could run, or ``None``.
    """
    _registered[(operator, name)] = _Registered(probe, description, unproven)


def implementations(operator: str | None = None) -> list[Implementation]:
    """Every implementation of every operator (or of one), whether it can run here and, if not, the reason."""
    found = []
    for (owner, name), entry in _registered.items():
        if operator in (None, owner):
            reason = entry.probe()
            found.append(Implementation(owner, name, reason is None, reason or "", entry.description))
    return found


def choose(
    operator: str, impl: str, preferences: Iterable[Preference], obstacle: Callable[[str], str | None]
) -> Preference:
    """The implementation that a call of ``operator`` runs, and why.

    A named one runs or raises. ``"auto"`` is the first of ``preferences`` that can run this call and is proven.

    Args:
        impl: what the caller asked for.
        preferences: best first; the last can run every call.
        obstacle: why an implementation cannot run this call, or ``None``. Asked about no more than it takes to decide.

    Raises:
        ValueError: for an ``impl`` that the operator does not have.
        RuntimeError: for a named one that cannot run here, or cannot run this call.
    """
    if impl == "auto":
        for line in preferences:
            if ruled_out(operator, line.implementation, obstacle) is None:
                return line
        raise RuntimeError(f"{operator}: no implementation can run this call")
    _available_or_raise(operator, impl)
    reason = obstacle(impl)
    if reason is not None:
        raise RuntimeError(f"{operator}: impl={impl!r} cannot run this call: {reason}")
    return Preference(impl, "asked for by name")


def ruled_out(operator: str, name: str, obstacle: Callable[[str], str | None]) -> str | None:
    """Why ``impl="auto"`` cannot take implementation ``name`` for a call; ``None`` where it can."""
    return obstacle(name) or _registered[(operator, name)].unproven()


def _available_or_raise(operator: str, name: str) -> None:
    if (operator, name) not in _registered:
        known = ", ".join(repr(other) for owner, other in _registered if owner == operator)
        raise ValueError(f"{operator}: impl={name!r} is not known; allowed: 'auto', {known}")
    reason = _registered[(operator, name)].probe()
    if reason is not None:
        raise RuntimeError(f"{operator}: impl={name!r} cannot run here: {reason}")
