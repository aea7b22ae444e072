"""A decoding step is one graph: no break, no memory of other calls, the same tokens; sizes may be left open."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.systems.gptface.generation import sampler
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings, image_step
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState, Target
from gptface.systems.gptface.generation.guidance import ClassifierFreeGuidance, ITMGuidance
from gptface.systems.gptface.generation.sampler import DecodingSettings, decode_masked
from gptface.systems.gptface.generation.selection import HaltonOrder
from tests.systems.gptface.generation.systems import tiny_system

SYSTEM = tiny_system()
TOKENS = SYSTEM.model.config.num_image_tokens
WAYS: dict[str, tuple[Target, dict[str, Any]]] = {
    "plain": ("image", {"top_k": 5}),
    "classifier-free, spread out": (
        "image", {"classifier_free": ClassifierFreeGuidance(2.0), "order": HaltonOrder(), "temperature": 0.0},
    ),
    "candidates": ("image", {"matching": ITMGuidance("exact", 1.0, candidates=2),
                             "classifier_free": ClassifierFreeGuidance(2.0)}),
    "text": ("text", {}),
}  # fmt: skip


def problem(target: Target, batch: int, width: int, device: str = "cpu") -> tuple[JointState, torch.Tensor]:
    generator = torch.Generator().manual_seed(width)
    state = JointState(
        torch.randint(5, 60, (batch, width), generator=generator).to(device),
        torch.randint(1, width + 1, (batch,), generator=generator).to(device),
        torch.randint(0, SYSTEM.model.config.codebook_size, (batch, TOKENS), generator=generator).to(device),
    )
    if target == "image":
        return state, torch.ones_like(state.image_codes, dtype=torch.bool)
    return state, torch.arange(width, device=device) < state.text_lengths.unsqueeze(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_one_graph(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One way with sizes left open; the others for their own sizes, which is faster."""
    target, options = WAYS[way]
    settings = DecodingSettings(steps=2, batch_invariant=False, **options)
    torch._dynamo.reset()
    dynamic = way == "text"
    traced = torch.compile(sampler._MaskedDecoding.advance, backend="eager", fullgraph=True, dynamic=dynamic)
    for batch, width in ((2, 6), (3, 8)) if dynamic else ((2, 6),):
        state, unknown = problem(target, batch, width)
        expected = decode_masked(JointDenoiser(SYSTEM.model, target), state, unknown, range(batch), settings)
        with monkeypatch.context() as patch:
            patch.setattr(sampler._MaskedDecoding, "advance", traced)
            found = decode_masked(JointDenoiser(SYSTEM.model, target), state, unknown, range(batch), settings)
        assert torch.equal(found.state.image_codes, expected.state.image_codes)
        assert torch.equal(found.state.text_ids, expected.state.text_ids)
        torch.testing.assert_close(found.match_log_odds, expected.match_log_odds)


def test_a_token_of_an_image_is_one_graph_wherever_it_stands() -> None:
    torch._dynamo.reset()
    traced = torch.compile(image_step, backend="eager", fullgraph=True, dynamic=True)
    settings = AutoregressiveSettings(guidance_scale=2.0, top_k=5)
    state, _ = problem("image", 2, 6)
    captions = state.text_ids.repeat(2, 1)
    lengths = torch.cat([state.text_lengths, torch.zeros_like(state.text_lengths)])
    with torch.no_grad():
        for position in (2, 5):
            uniform = torch.full((2, 1), 0.3)
            arguments = (SYSTEM.model, captions, lengths, state.image_codes, position, uniform, settings)
            assert torch.equal(traced(*arguments), image_step(*arguments))


def test_a_processor_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_compiled_step", lambda: pytest.fail("compiled on a processor"))
    state, unknown = problem("image", 1, 6)
    results = [
        decode_masked(JointDenoiser(SYSTEM.model), state, unknown, [1], DecodingSettings(steps=2, compiled=compiled))
        for compiled in (False, True)
    ]
    assert torch.equal(results[0].state.image_codes, results[1].state.image_codes)


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS)
def test_a_cuda_graph_decodes_the_same_tokens(way: str) -> None:
    target, options = WAYS[way]
    model = tiny_system().model.cuda()
    state, unknown = problem(target, 2, 6, "cuda")
    decoded = [
        decode_masked(
            JointDenoiser(model, target), state, unknown, [seed, seed + 1],
            DecodingSettings(steps=4, batch_invariant=False, compiled=compiled, **options),
        )
        for seed in (1, 5) for compiled in (False, True)
    ]  # fmt: skip
    for plain, compiled in (decoded[:2], decoded[2:]):
        assert torch.equal(plain.state.image_codes, compiled.state.image_codes)
        assert torch.equal(plain.state.text_ids, compiled.state.text_ids)
