"""The adapter for taming-transformers against the definition of its quantizer, written densely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.integrations.taming import VectorQuantizer2


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**options: Any) -> VectorQuantizer2:
    torch.manual_seed(0)
    return VectorQuantizer2(32, 8, 0.25, **options)


@pytest.mark.parametrize("legacy", [True, False])
def test_values_losses_and_gradients_over_training(legacy: bool) -> None:
    module = build(legacy=legacy)
    weight = module.embedding.weight.detach().clone().requires_grad_()
    optimizer, twin_optimizer = torch.optim.Adam(module.parameters(), 1e-2), torch.optim.Adam([weight], 1e-2)
    for step in range(50):
        z, twin = draw(2, 8, 3, 5, seed=step).requires_grad_(), draw(2, 8, 3, 5, seed=step).requires_grad_()
        quantized, loss, (_, _, indices) = module(z)

        rows = twin.permute(0, 2, 3, 1).reshape(-1, 8)
        chosen = torch.cdist(rows.double(), weight.double()).argmin(-1)
        codes = weight[chosen]
        commitment, codebook = (codes.detach() - rows).square().mean(), (codes - rows.detach()).square().mean()
        twin_loss = commitment + 0.25 * codebook if legacy else 0.25 * commitment + codebook
        twin_quantized = (rows + (codes - rows).detach()).reshape(2, 3, 5, 8).permute(0, 3, 1, 2)

        assert torch.equal(indices, chosen)
        torch.testing.assert_close(loss, twin_loss)
        torch.testing.assert_close(quantized, twin_quantized)
        (quantized.sin().sum() + 10 * loss).backward()
        (twin_quantized.sin().sum() + 10 * twin_loss).backward()
        torch.testing.assert_close(z.grad, twin.grad)
        for each in (optimizer, twin_optimizer):
            each.step()
            each.zero_grad()
        torch.testing.assert_close(module.embedding.weight, weight)
    torch.testing.assert_close(
        module.get_codebook_entry(indices, (2, 3, 5, 8)), weight[indices].reshape(2, 3, 5, 8).permute(0, 3, 1, 2)
    )


def test_state_dictionary_is_theirs() -> None:
    module = build()
    state = {"embedding.weight": draw(32, 8, seed=1)}
    assert list(module.state_dict()) == ["embedding.weight"]
    module.load_state_dict(state)
    assert torch.equal(module.embedding.weight, state["embedding.weight"])
    nested = torch.nn.ModuleDict({"quantize": build(revive_below=0.1)})
    assert "quantize.embedding.weight" in nested.state_dict()
    nested.load_state_dict({"quantize.embedding.weight": state["embedding.weight"]})
    assert torch.equal(nested["quantize"].embedding.weight, state["embedding.weight"])
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({})


def test_index_shapes_and_remapping(tmp_path: Path) -> None:
    z = draw(2, 8, 3, 5, seed=2)
    plain = build(sane_index_shape=True)(z)[2][2]
    assert plain.shape == (2, 3, 5)
    assert torch.equal(build()(z)[2][2], plain.flatten())

    used = np.array([30, 2, 17, *range(3, 12)])
    np.save(tmp_path / "used.npy", used)
    for unknown, code in (("extra", len(used)), (4, 4), ("random", None)):
        module = build(remap=tmp_path / "used.npy", unknown_index=unknown)
        indices = module(z)[2][2]
        assert indices.shape == (30, 1) and indices.max() < module.re_embed
        assert module.re_embed == len(used) + (unknown == "extra")
        for old, new in zip(plain.flatten().tolist(), indices.flatten().tolist(), strict=True):
            if old in used:
                assert used[new] == old
            elif code is not None:
                assert new == code
        known = torch.tensor([0, 2, 3])
        assert torch.equal(
            module.get_codebook_entry(known, None), module.embedding.weight[torch.from_numpy(used)[known]]
        )
    np.save(tmp_path / "wrong.npy", np.array([1, 32]))
    with pytest.raises(InputError, match=r"wrong\.npy"):
        build(remap=tmp_path / "wrong.npy")


def test_bad_calls_are_named() -> None:
    with pytest.raises(InputError, match="temp"):
        build()(draw(1, 8, 2, 2, seed=3), temp=0.5)
    with pytest.raises(InputError, match=r"z has shape \(4, 8\)"):
        build()(draw(4, 8, seed=3))
