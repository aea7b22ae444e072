"""Beliefs: from a patch's own pixels to a token that is mixed of a few codes of a learned codebook.

    pixels -> normalised patch -> predictor -> query -> k nearest codes, their softmax -> mixture
                       \\-> projection -> target: which code is nearest to the pixels themselves (incubation)

Codes start as k-means of the targets, so they begin as patterns of pixels; after that they are learned end to end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.ops import VectorQuantizer
from gptface.ops.vq.kmeans import kmeans
from gptface.systems.pacofr.configuration_model import PaCoFRConfig

__all__ = ["BeliefPredictor", "Beliefs", "lowest_frequencies"]

# A code that less than this share of the mean number of patches chose lately is moved onto a patch; at this decay one
# that nobody uses is found dead after 45 steps, early enough for runs of a few hundred.
REVIVE_BELOW, DECAY = 0.1, 0.95


class Beliefs(NamedTuple):
    """What the predictor believes of R patches.

    Attributes:
        tokens: (R, ``code_dim``), the mixtures.
        queries: (R, ``code_dim``), where the patches lie among the codes by the predictor's word.
        weights: (R, k), of the candidates, best first, summing to 1.
        candidates: int64 (R, k).
        perplexity: scalar, ``exp`` of the entropy of how the patches share the codes by their best candidate.
        usage: scalar, share of the codes that are a patch's best candidate.
    """

    tokens: Tensor
    queries: Tensor
    weights: Tensor
    candidates: Tensor
    perplexity: Tensor
    usage: Tensor


class BeliefPredictor(nn.Module):
    """The predictor, its codebook, and the projection that says where pixels lie among the codes.

    Args:
        config: of the model.
    """

    projection: Tensor

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        self.straight_through = config.straight_through
        self.temperature = config.belief_temperature
        # Codes that are drawn at random need no predictor.
        predicts = config.codes == "belief"
        self.expand = nn.Linear(config.patch_pixels, config.belief_size) if predicts else None
        self.query = nn.Linear(config.belief_size, config.code_dim) if predicts else None
        self.codebook = VectorQuantizer(
            config.code_dim,
            config.codebook_size,
            codebook_update="gradient",
            kmeans_init=False,  # see `start`: queries mean nothing at first, targets do
            decay=DECAY,
            revive_below=REVIVE_BELOW,
            topk=config.candidates,
            temperature=config.belief_temperature,
        )
        self.register_buffer("projection", lowest_frequencies(config.patch_size, config.channels, config.code_dim))

    def targets(self, normalised: Tensor) -> Tensor:
        """Normalised patches (R, P) in the space of the codes, (R, ``code_dim``), with a length of 1 at most."""
        with torch.autocast(normalised.device.type, enabled=False):
            return normalised.float() @ self.projection

    def forward(self, normalised: Tensor, usable: Tensor | None = None) -> Beliefs:
        """The beliefs of normalised patches (R, P). In training mode the codebook's statistics are brought up to date,
        and dead codes are revived.

        Args:
            normalised: the patches.
            usable: bool (R,), which of them count in the statistics; by default all.
        """
        assert self.expand is not None and self.query is not None, "codes are drawn at random"
        queries = self.query(functional.gelu(self.expand(normalised))).float()
        # The codes as they are looked up: those that the same call revives are somewhere else after it.
        codebook = self.codebook.codebook.clone() if self.training else self.codebook.codebook
        out = self.codebook(queries, usable)
        if out.candidates is None or out.weights is None:
            # k = 1: nothing to mix, and no gradient to beliefs. That gradient is 0 and not absent, for a parameter that
            # may have none stops several processes.
            candidates, weights = out.indices.unsqueeze(1), queries[:, :1].softmax(1)
        else:
            candidates, weights = out.candidates, out.weights
        codes = functional.embedding(candidates, codebook)
        mixed = torch.einsum("rk,rkd->rd", weights, codes)
        if self.straight_through:
            mixed = mixed + (codes[:, 0] - mixed).detach()
        return Beliefs(mixed, queries, weights, candidates, out.perplexity, out.usage)

    @torch.no_grad()
    def start(self, normalised: Tensor, seed: int) -> None:
        """Put the codes at k-means of normalised patches (R, P) of all processes, before the first step.

        With fewer patches than codes, codes repeat; those come to life again by revival. The patches may lie on another
        device, where the work is then done.
        """
        rows = (normalised.float() @ self.projection.to(normalised.device)).unsqueeze(0)
        usable = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        means, _ = kmeans(rows, usable, self.codebook.codebook_size, 10, spherical=False, seed=seed)
        self.codebook.weight.copy_(means.squeeze(0))


def lowest_frequencies(patch_size: int, channels: int, count: int) -> Tensor:
    """The ``count`` lowest frequencies of a patch's two-dimensional cosine transform: float32 (P, ``count``).

    P is ``channels · patch_size²``; columns are orthogonal, of length P^(−1/2) on average, so that a normalised patch,
    whose squares sum to P, comes out about as long as 1. Each is weighed by the root of its frequency: pictures hold
    less of the high ones, in which edges lie, and codes would not look at them. Colours take turns at each frequency,
    and constants come last: a normalised patch has none.
    """
    places = torch.arange(patch_size, dtype=torch.float64) + 0.5
    waves = torch.cos(torch.pi / patch_size * places[:, None] * torch.arange(patch_size))
    waves = waves / waves.norm(dim=0)
    rows, columns = torch.meshgrid(torch.arange(patch_size), torch.arange(patch_size), indexing="ij")
    pitch = (rows.square() + columns.square()).flatten()
    pitch[0] = pitch.max() + 1
    basis = torch.einsum("yr,xc->yxrc", waves, waves).flatten(2).flatten(0, 1)
    pitch, order = pitch.sort(stable=True)
    basis = basis[:, order] * pitch.double().pow(0.25)
    coloured = torch.einsum("pf,cd->cpfd", basis, torch.eye(channels, dtype=torch.float64))
    coloured = coloured.flatten(2).flatten(0, 1)[:, :count]
    return (coloured / coloured.norm() * (count / coloured.shape[0]) ** 0.5).float()
