"""A small network from tokens to normalised patches: what the leak's linear map may miss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptface.systems.pacofr.leak import linear_decoder

__all__ = ["PatchNetwork", "fit_patch_network"]

WIDTH, PASSES, BATCH = 256, 10, 1024
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.01


class PatchNetwork(nn.Module):
    """The best linear map, and what two hidden layers add to it: nothing at first.

    Args:
        tokens, targets: ``(M, D)`` and ``(M, P)``, which the linear map and the tokens' spread are taken from.
    """

    spread: Tensor

    def __init__(self, tokens: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.linear = linear_decoder(tokens, targets)
        self.register_buffer("spread", tokens.std(0).clamp_min(1e-6))
        last = nn.Linear(WIDTH, targets.shape[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(tokens.shape[1], WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), last
        ).to(tokens.device)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (M, D) to patches (M, P)."""
        return self.linear(tokens) + self.layers((tokens - self.linear.token) / self.spread)


def fit_patch_network(tokens: Tensor, targets: Tensor, seed: int) -> PatchNetwork:
    """Fit one on tokens (M, D) and normalised patches (M, P): AdamW, ten passes, the rate a half cosine down to 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PatchNetwork(tokens, targets)
        order = [torch.randperm(len(tokens)) for _ in range(PASSES)]
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = [rows for one in order for rows in one.split(BATCH)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    # Tensors that were made in inference mode cannot be trained on.
    tokens, targets = tokens.clone(), targets.clone()
    for rows in batches:
        rows = rows.to(tokens.device)
        optimizer.zero_grad()
        (network(tokens[rows]) - targets[rows]).square().mean().backward()
        optimizer.step()
        schedule.step()
    return network.eval()
