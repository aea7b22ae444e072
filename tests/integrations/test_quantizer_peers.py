"""Our drop-ins beside the originals themselves, where they are installed: same states and inputs, 50 training steps.

Without them, ``test_lucidrains.py`` and ``test_taming.py`` hold the drop-ins to the formulas, written out densely.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.integrations.lucidrains import VectorQuantize
from gptface.integrations.taming import VectorQuantizer2
from gptface.ops import ResidualVectorQuantizer
from gptface.ops.vq.codebook import pick_rows

STEPS = 50
DIM, SIZE = 8, 16

LUCIDRAINS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"use_cosine_sim": True},
    "straight through": {"rotation_trick": False},
    "rotation": {"rotation_trick": True, "commitment_weight": 0.3},
    "slow average": {"decay": 0.99, "eps": 1e-3},
    "heads share a codebook": {"heads": 2, "codebook_dim": 4},
    "a codebook a head": {"heads": 2, "codebook_dim": 6, "separate_codebook_per_head": True},
    "projected": {"codebook_dim": 5},
    "image": {"accept_image_fmap": True},
    "channels first": {"channel_last": False},
    "frozen": {"freeze_codebook": True},
    "learnable": {"learnable_codebook": True, "ema_update": False},
    "k-means": {"kmeans_init": True},
    "k-means, cosine": {"kmeans_init": True, "use_cosine_sim": True},
    "dead codes": {"threshold_ema_dead_code": 1.5},
    "dead codes, cosine": {"threshold_ema_dead_code": 1.5, "use_cosine_sim": True},
    "k-means and dead codes": {"kmeans_init": True, "threshold_ema_dead_code": 2},
}


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(options: dict[str, Any], step: int) -> Tensor:
    rows = draw(4, 15, DIM, seed=step) + 0.5
    if options.get("accept_image_fmap"):
        return rows.reshape(4, 3, 5, DIM).permute(0, 3, 1, 2).contiguous()
    return rows.transpose(1, 2).contiguous() if options.get("channel_last") is False else rows


def draw_as_we_do(theirs: Any, ours: VectorQuantize) -> None:
    """Give the original our rows where it draws at random: k-means' first ones, and replacements of dead codes."""

    def rows_of(number: int, step: Tensor) -> Any:
        def sample(samples: Tensor, wanted: int) -> Tensor:
            usable = torch.ones(samples.shape[:2], dtype=torch.bool)
            return pick_rows(samples, usable, number, ours.quantizer.seed, step)[0][:, :wanted]

        return sample

    theirs._codebook.sample_fn = rows_of(SIZE, torch.tensor(0))
    if hasattr(ours.quantizer, "step"):
        theirs._codebook.replace_sample_fn = rows_of(SIZE, ours.quantizer.step)


def assert_states(ours: torch.nn.Module, theirs: torch.nn.Module, step: int) -> None:
    expected, found = theirs.state_dict(), ours.state_dict()
    assert set(found) == set(expected)
    if getattr(ours, "learnable_codebook", False):
        expected.pop("_codebook.embed_avg")  # nobody reads it then: it stays where it began there
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].to(value.dtype),
            value,
            rtol=1e-4,
            atol=1e-5,
            msg=lambda text, name=name: f"{step} {name}: {text}",
        )


@pytest.mark.parametrize("kind", LUCIDRAINS)
def test_vector_quantize_pytorch(kind: str) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    options = LUCIDRAINS[kind]
    torch.manual_seed(0)
    theirs = library.VectorQuantize(DIM, SIZE, **options)
    ours = VectorQuantize(DIM, SIZE, **options)
    ours.load_state_dict(theirs.state_dict())
    draw_as_we_do(theirs, ours)
    optimizers = [
        torch.optim.SGD(module.parameters(), 0.1) for module in (ours, theirs) if list(module.parameters())
    ]  # projections, and the codebook where it is learned
    for step in range(STEPS):
        x, twin = batch(options, step).requires_grad_(), batch(options, step).requires_grad_()
        expected = theirs(twin)
        found = ours(x)
        for ours_part, theirs_part in zip(found, expected, strict=True):
            torch.testing.assert_close(ours_part, theirs_part.reshape(ours_part.shape), rtol=1e-4, atol=1e-5)
        for quantized, _, loss in (found, expected):
            (loss.sum() + quantized.sin().mean()).backward()
        torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-7)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert_states(ours, theirs, step)
    ours.eval()
    theirs.eval()
    for seed in range(100, 103):
        for ours_part, theirs_part in zip(ours(batch(options, seed)), theirs(batch(options, seed)), strict=True):
            torch.testing.assert_close(ours_part, theirs_part.reshape(ours_part.shape), rtol=1e-4, atol=1e-5)
    assert_states(ours, theirs, STEPS)
    theirs.load_state_dict(ours.state_dict())  # and the way back


@pytest.mark.parametrize("cosine", [False, True])
def test_vector_quantize_pytorch_with_padding(cosine: bool) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = library.VectorQuantize(DIM, SIZE, use_cosine_sim=cosine)
    ours = VectorQuantize(DIM, SIZE, use_cosine_sim=cosine)
    ours.load_state_dict(theirs.state_dict())
    for step in range(STEPS):
        x, mask = batch({}, step), draw(4, 15, seed=1000 + step) > -0.5
        found, expected = ours(x, mask=mask), theirs(x, mask=mask)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(found[1][mask], expected[1][mask])
        loss = expected[2].sum()
        if (
            cosine
        ):  # there, with a mask, unit codes are compared with vectors as they came; here both are of unit length
            loss = torch.nn.functional.mse_loss(expected[0], torch.nn.functional.normalize(x, dim=-1), reduction="none")
            loss = loss[mask].mean()
        torch.testing.assert_close(found[2], loss, rtol=1e-4, atol=1e-5)
        assert_states(ours, theirs, step)


def test_residual_form_of_vector_quantize_pytorch() -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = library.ResidualVQ(dim=DIM, codebook_size=SIZE, num_quantizers=3)
    ours = ResidualVectorQuantizer(DIM, SIZE, 3, commitment_weight=1.0, decay=0.8, kmeans_init=False, revive_below=0.0)
    for stage, layer in zip(ours.stages, theirs.layers, strict=True):
        stage.weight.copy_(layer._codebook.embed[0])
        stage.cluster_sum.copy_(layer._codebook.embed_avg[0])
        stage.cluster_size.copy_(layer._codebook.cluster_size[0])
    for step in range(STEPS):
        found, expected = ours(batch({}, step)), theirs(batch({}, step))
        assert torch.equal(found.indices, expected[1])
        torch.testing.assert_close(found.quantized, expected[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.loss, expected[2].sum(), rtol=1e-4, atol=1e-5)
        for stage, layer in zip(ours.stages, theirs.layers, strict=True):
            torch.testing.assert_close(stage.weight, layer._codebook.embed[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(stage.cluster_size, layer._codebook.cluster_size[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("legacy", [True, False])
def test_taming_transformers(legacy: bool) -> None:
    library = pytest.importorskip("taming.modules.vqvae.quantize")
    torch.manual_seed(0)
    theirs = library.VectorQuantizer2(SIZE, DIM, 0.25, legacy=legacy, sane_index_shape=True)
    ours = VectorQuantizer2(SIZE, DIM, 0.25, legacy=legacy, sane_index_shape=True)
    ours.load_state_dict(theirs.state_dict())
    optimizers = [torch.optim.Adam(module.parameters(), 1e-2) for module in (ours, theirs)]
    for step in range(STEPS):
        x, twin = (batch({"accept_image_fmap": True}, step).requires_grad_() for _ in range(2))
        found, expected = ours(x), theirs(twin)
        assert torch.equal(found[2][2], expected[2][2])
        for index in (0, 1):
            torch.testing.assert_close(found[index], expected[index], rtol=1e-4, atol=1e-5)
        for quantized, loss, _ in (found, expected):
            (10 * loss + quantized.sin().sum()).backward()
        torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-5)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert_states(ours, theirs, step)
    shape = (4, 3, 5, DIM)
    indices = found[2][2].flatten()
    torch.testing.assert_close(ours.get_codebook_entry(indices, shape), theirs.get_codebook_entry(indices, shape))
    theirs.load_state_dict(ours.state_dict())
