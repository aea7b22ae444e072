"""Which implementations of which operator exist, and which of them can run here.

An operator's ``api`` module registers its implementations with a probe: a function without arguments that returns
``None`` where the implementation can run, and otherwise the reason why it cannot. Registering imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Implementation", "available_or_raise", "implementations", "register_implementation"]

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


_registered: dict[tuple[str, str], tuple[Probe, str]] = {}


def register_implementation(operator: str, name: str, probe: Probe, description: str) -> None:
    """Record implementation ``name`` of ``operator``; ``probe`` runs only when somebody asks for it."""
    _registered[(operator, name)] = (probe, description)


def implementations(operator: str | None = None) -> list[Implementation]:
    """Every implementation of every operator (or of one), whether it can run here and, if not, the reason."""
    found = []
    for (owner, name), (probe, description) in _registered.items():
        if operator in (None, owner):
            reason = probe()
            found.append(Implementation(owner, name, reason is None, reason or "", description))
    return found


def available_or_raise(operator: str, name: str) -> None:
    """Raise ``ValueError`` for an unknown ``impl``, ``RuntimeError`` for one that cannot run here; never fall back."""
    if (operator, name) not in _registered:
        known = ", ".join(repr(other) for owner, other in _registered if owner == operator)
        raise ValueError(f"{operator}: impl={name!r} is not known; allowed: 'auto', {known}")
    reason = _registered[(operator, name)][0]()
    if reason is not None:
        raise RuntimeError(f"{operator}: impl={name!r} cannot run here: {reason}")
