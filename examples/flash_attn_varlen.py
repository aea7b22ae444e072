"""Documents of any length in one row, without padding: a tiny model that learns the majority sign of each document."""

from __future__ import annotations

import torch
from torch import nn

from gptface.integrations.flash_attn import flash_attn_varlen_func


def main(steps: int = 60) -> list[float]:
    """Returns the losses."""
    torch.manual_seed(0)
    project, readout = nn.Linear(1, 3 * 2 * 16), nn.Linear(2 * 16, 1)
    optimizer = torch.optim.AdamW([*project.parameters(), *readout.parameters()], lr=1e-2)
    losses = []
    for step in range(steps):
        lengths = torch.randint(3, 12, (16,))
        cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        signs = torch.randint(0, 2, (int(cu_seqlens[-1]), 1)).float() * 2 - 1
        document = torch.repeat_interleave(torch.arange(16), lengths)
        majority = torch.zeros(16).index_add(0, document, signs[:, 0]).ge(0).float()[document]
        query, key, value = project(signs).view(-1, 3, 2, 16).unbind(1)
        out = flash_attn_varlen_func(query, key, value, cu_seqlens, cu_seqlens)
        loss = nn.functional.binary_cross_entropy_with_logits(readout(out.flatten(1))[:, 0], majority)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 20 == 0:
            print(f"step {step:3d}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
