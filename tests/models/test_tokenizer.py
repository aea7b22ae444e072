"""The image tokenizer: shapes, codes, gradients, topologies."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gptface.errors import InputError
from gptface.models import FaceTokenizer, FaceTokenizerConfig
from gptface.models.convolution import ChannelNorm, ResidualBlock, ShuffleConvolution, SpatialAttention
from gptface.models.discriminator import PatchDiscriminator
from gptface.models.principal_components import start_from_principal_components
from gptface.objectives import reconstruction_losses
from gptface.ops.vq import cpu

TOPOLOGIES = {
    "patch stem": {},
    "local codes": {"local_codes": True},
    "two levels below the stem": {"stem_stride": 2, "channels": [16, 24, 24], "attention_levels": [2]},
    "vqgan": {
        "stem_stride": 1,
        "channels": [16, 16, 24, 32],
        "norm": "group",
        "encoder_blocks": 2,
        "decoder_blocks": 3,
        "middle_blocks": 2,
        "attention_levels": [3],
        "middle_attention": True,
    },
    "codes by gradient": {"codebook_update": "gradient", "kmeans_init": False},
}


def pictures(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth random images in [−1, 1]."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_shapes_ranges_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    model = FaceTokenizer(FaceTokenizerConfig.tiny(**TOPOLOGIES[name]))
    images = pictures(8)
    output = model(images)
    height, width = model.config.grid
    assert output.reconstruction.shape == images.shape
    assert output.reconstruction.dtype == torch.float32
    assert output.codes.shape == (8, height * width)
    loss = reconstruction_losses(output.reconstruction, images)["total"] + output.quantizer_loss
    loss.backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label
    codes = model.encode(images)
    assert codes.dtype == torch.int64
    assert int(codes.min()) >= 0 and int(codes.max()) < model.config.codebook_size
    decoded = model.decode(codes)
    assert decoded.shape == images.shape
    assert float(decoded.detach().abs().max()) <= 1
    assert torch.equal(decoded, model.decode(codes.unflatten(1, (height, width))))


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_flops_match_what_torch_counts(name: str) -> None:
    model = FaceTokenizer(FaceTokenizerConfig.tiny(**TOPOLOGIES[name])).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(pictures(1))
    counted = sum(count for op, count in counter.get_flop_counts()["Global"].items() if "convolution" in str(op))
    claimed = model.flops_per_image(training=False)
    config = model.config
    lookup = 2 * config.grid[0] * config.grid[1] * config.code_dim * config.codebook_size
    attentions = (config.encoder_blocks + config.decoder_blocks) * len(config.attention_levels)
    attentions += 2 * config.middle_attention
    side = config.grid[0]
    assert claimed == counted + lookup + attentions * 4 * side**4 * config.channels[-1]
    assert model.flops_per_image() == 3 * claimed


def test_local_codes_say_nothing_of_their_neighbours() -> None:
    """A code that changes with the next token's pixels tells a network what a mask hides."""
    torch.manual_seed(0)
    images = pictures(2)
    changed = images.clone()
    changed[:, :, 8:16, 8:16] = 0.5
    there = torch.zeros(4, 4, dtype=torch.bool)
    there[1, 1] = True
    for local in (True, False):
        model = FaceTokenizer(FaceTokenizerConfig.tiny(local_codes=local)).eval()
        difference = (model.encode_latents(images) - model.encode_latents(changed)).abs().sum((0, 2))
        assert torch.equal(difference > 0, there.flatten()) == local


def test_local_codes_need_the_linear_map() -> None:
    with pytest.raises(InputError, match="local_codes needs linear_shortcut"):
        FaceTokenizerConfig.tiny(local_codes=True, linear_shortcut=False)


def test_the_straight_path_reconstructs_its_codes() -> None:
    """In evaluation, ``decode(encode(x))`` is the clamped reconstruction of ``forward``."""
    model = FaceTokenizer(FaceTokenizerConfig.tiny())
    images = pictures(4)
    model(images)  # k-means, in training mode
    model.eval()
    output = model(images)
    assert torch.equal(model.encode(images), output.codes)
    torch.testing.assert_close(model.decode(output.codes), output.reconstruction.clamp(-1, 1), atol=1e-5, rtol=1e-5)


def test_encoding_in_training_mode_does_not_train_the_codebook() -> None:
    model = FaceTokenizer(FaceTokenizerConfig.tiny()).train()
    model(pictures(4))
    before = {name: value.clone() for name, value in model.quantizer.state_dict().items()}
    model.encode(pictures(4, seed=1))
    for name, value in model.quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name
    model(pictures(4, seed=1))
    assert not torch.equal(model.quantizer.weight, before["weight"])


@pytest.mark.slow
@pytest.mark.skipif(cpu.cpu_missing() is not None, reason="no native kernel")
def test_encoding_packs_the_codebook_once_and_sees_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, images = FaceTokenizer(FaceTokenizerConfig.tiny()).eval(), pictures(2)
    packings, pack = [], cpu.pack
    monkeypatch.setattr(cpu, "pack", lambda *arguments: packings.append(1) or pack(*arguments))
    first = model.encode(images)
    assert torch.equal(model.encode(images), first) and len(packings) == 1
    model.quantizer.weight.data[first.unique()] += 100.0
    assert not torch.isin(model.encode(images), first).any() and len(packings) == 2


def test_it_learns_a_handful_of_pictures() -> None:
    """Convergence: the error of eight pictures falls well below that of predicting their mean colour."""
    torch.manual_seed(0)
    model = FaceTokenizer(FaceTokenizerConfig.tiny()).train()
    images = pictures(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(100):
        output = model(images)
        loss = reconstruction_losses(output.reconstruction, images)["total"] + output.quantizer_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    error = (model.decode(model.encode(images)) - images).square().mean()
    mean_colour = (images - images.mean((2, 3), keepdim=True)).square().mean()
    assert error < 0.2 * mean_colour


def test_bfloat16_autocast_keeps_the_codes_float32() -> None:
    model = FaceTokenizer(FaceTokenizerConfig.tiny(middle_attention=True, channels=[16, 32]))
    images = pictures(8)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    assert output.reconstruction.dtype == torch.float32
    assert output.quantizer_loss.dtype == torch.float32
    assert model.quantizer.weight.dtype == torch.float32
    output.reconstruction.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_precision_it_encodes_decodes_and_learns(dtype: torch.dtype, name: str) -> None:
    torch.manual_seed(0)
    exact = FaceTokenizer(FaceTokenizerConfig.tiny(**TOPOLOGIES[name])).train()
    images = pictures(8)
    exact(images)  # k-means
    half = copy.deepcopy(exact).to(dtype)
    assert half.quantizer.weight.dtype == torch.float32
    output, rounded = exact.eval()(images), half.eval()(images)
    assert rounded.reconstruction.dtype == rounded.quantizer_loss.dtype == torch.float32
    same = output.codes == rounded.codes
    assert same.float().mean() > 0.9
    error = (half.decode(output.codes) - exact.decode(output.codes)).abs().max()
    assert error <= 12 * torch.finfo(dtype).eps
    assert torch.equal(half.encode(images), half.encode(images.to(dtype).float()))  # images of either dtype

    half.train()
    before = half.quantizer.weight.detach().clone()
    output = half(images)
    (output.reconstruction.square().mean() + output.quantizer_loss).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in half.parameters())
    if half.config.codebook_update == "ema":
        assert not torch.equal(half.quantizer.weight, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_loaded_in_half_precision_the_codebook_still_learns(dtype: torch.dtype, tmp_path: Path) -> None:
    """In bfloat16 a moving average of 1 − 1/100 a step stalls: sizes reach 206 of 256 (the batch's rows) and stay."""
    model = FaceTokenizer(FaceTokenizerConfig.tiny(codebook_decay=0.99, kmeans_init=False, revive_below=0.0))
    model.save_pretrained(tmp_path)
    loaded = FaceTokenizer.from_pretrained(tmp_path, dtype=dtype).train()
    assert loaded.dtype == dtype
    for name in ("weight", "cluster_size", "cluster_sum"):
        assert torch.equal(loaded.quantizer.state_dict()[name], model.quantizer.state_dict()[name]), name
    rows = torch.randn(256, loaded.config.code_dim)
    for _ in range(600):
        loaded.quantizer(rows)
    # 64 at first, 256 a step: 256 − 192 · 0.99⁶⁰⁰
    assert loaded.quantizer.cluster_size.sum().item() == pytest.approx(255.54, abs=0.01)


def test_pictures_in_bytes_are_named() -> None:
    model = FaceTokenizer(FaceTokenizerConfig.tiny())
    with pytest.raises(InputError, match=r"images must be floating point in \[-1, 1\], got torch\.uint8"):
        model.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_a_pixel_shuffle_starts_without_a_checkerboard() -> None:
    torch.manual_seed(0)
    convolution = ShuffleConvolution(4, 3, 2)
    torch.nn.init.zeros_(convolution.bias)
    convolution.start_even()
    enlarged = convolution(torch.randn(1, 4, 5, 5))
    assert enlarged.shape == (1, 3, 10, 10)
    blocks = enlarged.unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(blocks, blocks[..., :1, :1].expand_as(blocks))
    weight = FaceTokenizer(FaceTokenizerConfig.tiny(stem_stride=2)).decoder.output.weight
    assert torch.equal(weight[0::4], weight[3::4])


def test_channel_norm_normalises_every_pixel() -> None:
    maps = torch.randn(2, 24, 3, 5) * 4 + 7
    normalised = ChannelNorm(24)(maps)
    torch.testing.assert_close(normalised.mean(1), torch.zeros(2, 3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(1, unbiased=False), torch.ones(2, 3, 5), atol=1e-3, rtol=0)


def test_a_residual_block_without_weights_is_the_identity() -> None:
    block = ResidualBlock(8, 8, groups=4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    maps = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(maps), maps)


@pytest.mark.parametrize("channels", [16, 264])  # 264: wider than masked_attention's heads, as published VQGANs are
def test_attention_over_a_map_is_one_head_over_its_positions(channels: int) -> None:
    torch.manual_seed(0)
    attention = SpatialAttention(channels, groups=8)
    maps = torch.randn(2, channels, 3, 5)
    query, key, value = attention.query_key_value(attention.norm(maps)).flatten(2).chunk(3, dim=1)
    weights = torch.softmax(query.transpose(1, 2) @ key / channels**0.5, dim=-1)
    expected = maps + attention.output((value @ weights.transpose(1, 2)).view_as(maps))
    torch.testing.assert_close(attention(maps), expected, rtol=1e-4, atol=1e-5)


def test_the_papers_topology() -> None:
    config = FaceTokenizerConfig.paper()
    assert config.grid == (16, 16)
    assert config.token_pixels == 16
    assert config.codebook_size == 1024
    with torch.device("meta"):
        model = FaceTokenizer(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 60e6 < count < 80e6  # VQGAN's 256², f = 16 model on FFHQ


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": 36}, "image_size 36 is not a multiple of the token side 8"),
        ({"channels": []}, "channels"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"attention_levels": [2]}, "attention_levels"),
        ({"middle_attention": True, "channels": [16, 20]}, "a multiple of 8 channels and at least 16, got 20"),
        ({"decoder_blocks": 0}, "decoder_blocks must be an integer of at least 1, got 0"),
        ({"norm": "batch"}, "norm must be one of group, layer"),
        ({"codebook_decay": 1.0}, "codebook_decay"),
        ({"revive_below": -0.1}, "revive_below"),
    ],
)
def test_impossible_configurations(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaceTokenizerConfig.tiny(**overrides)


def test_images_and_codes_of_another_size() -> None:
    model = FaceTokenizer(FaceTokenizerConfig.tiny())
    with pytest.raises(InputError, match=r"images must have shape \(B, 3, 32, 32\), got \(2, 3, 64, 64\)"):
        model.encode(torch.zeros(2, 3, 64, 64))
    with pytest.raises(InputError, match=r"codes must have shape \(B, 16\), got \(2, 15\)"):
        model.decode(torch.zeros(2, 15, dtype=torch.int64))


def test_patch_discriminator_gives_a_logit_a_patch() -> None:
    model = PatchDiscriminator(channels=8, layers=2)
    logits = model(pictures(2))
    assert logits.shape[:2] == (2, 1)
    assert logits.shape[2] > 1
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_from_principal_components_a_fresh_tokenizer_comes_as_near_as_they_can() -> None:
    torch.manual_seed(0)
    images = pictures(24)
    tokenizer = FaceTokenizer(FaceTokenizerConfig.tiny(stem_stride=4, channels=[16], codebook_size=256)).eval()
    held = start_from_principal_components(tokenizer, images)
    assert 0.9 < held <= 1
    with torch.no_grad():
        decoded = tokenizer.decode_latents(tokenizer.encode_latents(images))
    variance = (images - images.mean((0, 2, 3), keepdim=True)).square().mean()
    # The damped networks disturb a little; nothing is left of what eight components of a patch hold.
    assert float((decoded - images).square().mean() / variance) < (1 - held) + 0.05


def test_principal_components_need_linear_shortcuts_and_more_patches_than_components() -> None:
    with pytest.raises(InputError, match="linear_shortcut must be true"):
        start_from_principal_components(FaceTokenizer(FaceTokenizerConfig.tiny(linear_shortcut=False)), pictures(8))
    with pytest.raises(InputError, match="more than 8 patches, got 8"):
        one = FaceTokenizer(FaceTokenizerConfig.tiny(stem_stride=8, channels=[16], image_size=32))
        start_from_principal_components(one, pictures(1)[:, :, :32, :16].repeat(1, 1, 1, 1))
