"""Whole systems in bfloat16 and float16: every public path runs, and says what float32 says up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.generation import (
    AutoregressiveSettings,
    ClassifierFreeGuidance,
    DecodingSettings,
    FaceGenerator,
    ITMGuidance,
)
from gptface.systems.gptface.sequence import Regime, build_sequence
from tests.systems.gptface.generation.systems import tiny_system

HALVES = [torch.bfloat16, torch.float16]
# Units in the last place of each are 2⁻⁷ and 2⁻¹⁰; the networks are a dozen layers deep.
CLOSE = {torch.bfloat16: 0.05, torch.float16: 0.01}

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
MASK = np.zeros((48, 48), dtype=bool)
MASK[10:30, 12:40] = True


def system_in(dtype: torch.dtype, how: str, folder: Path) -> FaceSystem:
    system = tiny_system(parser=True, alignment_size=16)
    if how == "loaded":
        system.save_pretrained(folder)
        return FaceSystem.from_pretrained(folder, dtype=dtype)
    return system.bfloat16() if dtype == torch.bfloat16 else system.half()


@pytest.mark.parametrize("how", ["converted", "loaded"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_system_in_half_precision_says_what_it_says_in_float32(dtype: torch.dtype, how: str, tmp_path: Path) -> None:
    exact, half = tiny_system(parser=True, alignment_size=16), system_in(dtype, how, tmp_path)
    for network in (half.tokenizer, half.model, half.parser):
        assert network is not None and network.dtype == dtype and not network.training
    assert torch.equal(half.tokenizer.quantizer.weight, exact.tokenizer.quantizer.weight)  # to the bit

    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latents = exact.tokenizer.encode_latents(images)
        rounded = half.tokenizer.encode_latents(images)
        codes = exact.tokenizer.encode(images)
        assert rounded.dtype == dtype
        torch.testing.assert_close(rounded.float(), latents, rtol=0, atol=CLOSE[dtype] * float(latents.std()))
        torch.testing.assert_close(
            half.tokenizer.decode(codes), exact.tokenizer.decode(codes), rtol=0, atol=CLOSE[dtype]
        )
        # Where a code differs, the two were nearly as near: by less than rounding can move a distance.
        distances = torch.cdist(latents, exact.tokenizer.quantizer.weight).square()
        theirs = half.tokenizer.encode(images)
        assert (theirs == codes).float().mean() > 0.9
        behind = (distances.gather(-1, theirs[..., None]) - distances.gather(-1, codes[..., None])).abs()
        assert float(behind.max()) <= CLOSE[dtype] * float(distances.mean())

        assert exact.parser is not None and half.parser is not None
        found, expected = half.parser(images), exact.parser(images)
        for name in ("region_logits", "attribute_logits", "expression_logits"):
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=CLOSE[dtype])

        text_ids, lengths = torch.tensor([[5, 6, 7]]).repeat(4, 1), torch.tensor([3, 2, 0, 1])
        sequence = [build_sequence(exact.model.vocabulary, text_ids, lengths, codes, regime) for regime in Regime]
        for one in sequence:
            logits = [system.model.image_logits(system.model.forward_sequence(one)).float() for system in (exact, half)]
            torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=2 * CLOSE[dtype] * float(logits[0].std()))

    match = [FaceGenerator(system).match([PHOTO], "a smiling man")[0] for system in (exact, half)]
    assert abs(match[0] - match[1]) <= 10 * CLOSE[dtype]


WAYS: dict[str, Callable[[FaceGenerator], np.ndarray]] = {
    **{
        f"generate, {mode}": lambda g, mode=mode: g.generate(
            ["a smiling man", "a woman with blond hair"],
            settings=DecodingSettings(
                steps=3,
                temperature=0.0,
                classifier_free=ClassifierFreeGuidance(2.0),
                matching=ITMGuidance(mode, 2.0),
            ),
        ).images
        for mode in ("none", "first_order", "exact")
    },
    "generate, autoregressive": lambda g: g.generate(
        "a man", method="autoregressive", autoregressive=AutoregressiveSettings(temperature=0.0, guidance_scale=2.0)
    ).images,
    "history": lambda g: g.render_history(g.generate("a man", keep_history=True).history),
    "edit": lambda g: np.stack(g.edit(PHOTO, "blond hair", regions="hair").images),
    "edit by attribute": lambda g: np.stack(g.edit(PHOTO, attributes="Blond_Hair", masks=MASK).images),
    "inpaint": lambda g: np.stack(g.inpaint(PHOTO, MASK, "a man").images),
    "unmask": lambda g: np.stack(g.unmask(PHOTO, MASK, negative_captions="a hat", best_of=2).images),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_pictures_can_be_made_and_edited_in_half_precision(dtype: torch.dtype, way: str, tmp_path: Path) -> None:
    half = FaceGenerator(system_in(dtype, "converted", tmp_path))
    made = WAYS[way](half)
    assert made.dtype == np.uint8 and made.std() > 0
    if made.shape[-3:] == PHOTO.shape and way in ("inpaint", "unmask", "edit by attribute"):
        assert np.array_equal(made[0][~MASK], PHOTO[~MASK])


@pytest.mark.parametrize("method", ["autoregressive", "masked"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_faces_can_be_described_in_half_precision(dtype: torch.dtype, method: str, tmp_path: Path) -> None:
    half = FaceGenerator(system_in(dtype, "converted", tmp_path))
    result = half.caption(PHOTO, method=method, candidates=2)
    assert np.isfinite(result.match).all() and len(result.captions) == 1


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_saved_in_half_precision_the_codebook_stays_exact(dtype: torch.dtype, tmp_path: Path) -> None:
    exact = tiny_system().tokenizer
    system_in(dtype, "converted", tmp_path).save_pretrained(tmp_path / "half")
    again = FaceSystem.from_pretrained(tmp_path / "half")
    assert again.tokenizer.dtype == dtype and again.model.dtype == dtype
    for name, value in exact.quantizer.state_dict().items():
        assert torch.equal(again.tokenizer.quantizer.state_dict()[name], value), name
    assert again.float().tokenizer.dtype == torch.float32 and again.model.dtype == torch.float32
