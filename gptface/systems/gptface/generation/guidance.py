"""Guidance: what pulls a step's distribution towards the wish.

*Classifier-free guidance* extrapolates from the logits without the caption to those with it. *Matching guidance* asks
the image–text matching (ITM) head. A head trained on equal shares of matched and mismatched pairs learns a density
ratio: its odds ``o = p(match) / p(mismatch)`` tend to ``p(caption | image) / p(caption)``, so ``p(image) · o`` is
Bayes' posterior given the caption. ``p(match)`` itself would stop distinguishing once a match is likely, which it is
from the start where an edit changes one fact of many. Two ways to use the odds:

``first_order``
    ``log o`` expanded to first order around the expected embedding of every still-masked token:
    ``logits_k += weight · ∇ log o · embedding_k``. A token-space form of classifier guidance; compare discrete guidance
    (arXiv 2406.01572) and NOS (arXiv 2305.20009). A bound on the Kullback–Leibler divergence to the unguided
    distribution scales it back, position by position.
``exact``
    Several candidates for the step are drawn, the head scores each resulting sequence, and one is drawn with weight
    ``o ** weight``: importance resampling towards the same posterior, without the expansion.

Every weight grows in proportion to the progress of decoding, from nothing at a sample's first step: guidance that is
strong while most tokens are unknown harms, late guidance helps (arXiv 2507.08965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.gptface.generation.denoiser import Denoised, Denoiser, JointState
from gptface.systems.gptface.generation.noise import gumbel

__all__ = [
    "ClassifierFreeGuidance",
    "ITMGuidance",
    "MatchMode",
    "bounded_tilt",
    "choose_candidate",
    "first_order_shift",
    "restrict_top_k",
]

MatchMode = Literal["none", "first_order", "exact"]

# Bisections for the strength of a bounded shift: to 2⁻¹⁴ in its fourth root.
HALVINGS = 14


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """``unconditional + s · (conditional − unconditional)`` where s grows from 1 to ``scale`` (arXiv 2207.12598).

    The unconditional branch is the empty caption, which training shows in place of a tenth of the captions.
    ``scale=1`` is off and costs nothing; any other doubles the work of a step.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise InputError(f"guidance scale must be finite and not negative, got {self.scale}")

    @property
    def active(self) -> bool:
        return self.scale != 1.0

    def __call__(self, conditional: Tensor, unconditional: Tensor, progress: Tensor) -> Tensor:
        """Logits ``(B, L, V)`` at ``progress (B,)``."""
        scale = 1.0 + (self.scale - 1.0) * progress
        return unconditional + scale.view(-1, 1, 1) * (conditional - unconditional)


@dataclass(frozen=True)
class ITMGuidance:
    """Guidance by the image–text matching head. Weight 0 or mode ``"none"`` is off and costs nothing.

    Attributes:
        mode: ``"first_order"``, ``"exact"`` or ``"none"``; the module's documentation has the formulas.
        weight: exponent on the odds at the last step; 1 is Bayes' posterior, more is stronger.
        kl_bound: first order: most nats a position's distribution may move from the unguided one.
        candidates: exact: sequences drawn a step, each scored by one forward pass (in one batch).
    """

    mode: MatchMode = "none"
    weight: float = 0.0
    kl_bound: float = 1.0
    candidates: int = 4

    def __post_init__(self) -> None:
        if self.mode not in ("none", "first_order", "exact"):
            raise InputError(f"mode of matching guidance is first_order, exact or none, got {self.mode!r}")
        for name in ("weight", "kl_bound"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"{name} of matching guidance must be finite and not negative, got {getattr(self, name)}"
                )
        if self.candidates < 1:
            raise InputError(f"candidates of matching guidance must be at least 1, got {self.candidates}")

    @property
    def active(self) -> bool:
        return self.mode != "none" and self.weight > 0


def bounded_tilt(logits: Tensor, shift: Tensor, bound: float) -> Tensor:
    """``logits + s · shift`` with the largest s ≤ 1 (to within a few per cent) where ``KL(tilted ‖ original) ≤ bound``.

    The divergence grows with s along an exponential tilt (its derivative is s times a variance), so bisection finds it.
    The bisection is over the fourth root of s: a shift a thousand times too large is scaled back as finely as one that
    is just too large, so that a large weight simply means "as far as the bound allows".

    Args:
        logits: ``(…, V)`` float; −inf marks forbidden entries.
        shift: ``(…, V)`` finite.
        bound: nats, per leading position.
    """
    log_original = logits.log_softmax(-1)

    def within(root: Tensor) -> Tensor:
        tilt = root**4 * shift
        joint = log_original + tilt
        divergence = (joint.softmax(-1) * tilt).sum(-1, keepdim=True) - joint.logsumexp(-1, keepdim=True)
        return divergence <= bound

    whole = torch.ones_like(logits[..., :1])
    low, width = torch.zeros_like(whole), whole.clone()
    for _ in range(HALVINGS):
        width = width / 2
        low = torch.where(within(low + width), low + width, low)
    return logits + torch.where(within(whole), whole, low) ** 4 * shift


def restrict_top_k(logits: Tensor, top_k: int | None) -> Tensor:
    """Everything below the k-th largest logit of a position becomes −inf (entries equal to it stay)."""
    if top_k is None or top_k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(top_k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def first_order_shift(denoiser: Denoiser, state: JointState, unknown: Tensor, logits: Tensor) -> Tensor:
    """``∇ log odds · embedding_k`` at the expected embedding of every unknown token.

    Args:
        state: tokens of the step, ``mask_token`` where unknown.
        unknown: ``(B, L)`` bool.
        logits: ``(B, L, V)``, the distribution the expectation is taken under.

    Returns:
        ``(B, L, V)`` float32, 0 at known positions; multiply by a weight and add to logits. Costs a forward pass and a
        backward pass to the embeddings (parameters get no gradient).
    """
    with torch.no_grad():
        table = denoiser.embedding_table()
        expected = logits.softmax(-1).to(table.dtype) @ table
        embeddings = torch.where(unknown.unsqueeze(-1), expected, denoiser.embed(denoiser.tokens(state)))
    with torch.enable_grad():
        embeddings.requires_grad_(True)
        log_odds = denoiser(state, embeddings).match_log_odds
        (gradient,) = torch.autograd.grad(log_odds.sum(), embeddings)
    gradient = gradient.masked_fill(~unknown.unsqueeze(-1), 0.0)
    return (gradient @ table.T).float()


def choose_candidate(denoised: Denoised, weight: Tensor, uniform: Tensor) -> Tensor:
    """Draw one of n candidates of every sample with probability proportional to ``odds ** weight``.

    Args:
        denoised: of ``B * n`` rows, the candidates of a sample side by side.
        weight: ``(B,)``; ``inf`` takes the best, 0 the first.
        uniform: ``(B, n)`` in [0, 1).

    Returns:
        ``(B,)`` int64 rows of ``denoised``.
    """
    batch, candidates = uniform.shape
    log_odds = denoised.match_log_odds.view(batch, candidates)
    # Comparing with the best keeps weight · log odds finite for a weight of infinity.
    behind = log_odds - log_odds.amax(1, keepdim=True)
    tempered = torch.where(behind < 0, behind * weight.unsqueeze(1), torch.zeros_like(behind))
    best = (tempered + gumbel(uniform.to(tempered.dtype))).argmax(1)
    # Without a preference the first stands, so that a sample whose weight is still 0 needs no candidates at all.
    best = torch.where(weight > 0, best, torch.zeros_like(best))
    return best + candidates * torch.arange(batch, device=best.device)
