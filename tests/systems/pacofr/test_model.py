"""PaCo-FR's model: shapes, folders, what its tokens are, and what a prediction may know."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from gptface.errors import InputError
from gptface.objectives import normalised_patches
from gptface.systems import open_encoder, random_encoder
from gptface.systems.pacofr import PaCoFR, PaCoFRConfig, PaCoFREncoder, PaCoFREncoderConfig
from gptface.systems.pacofr.masking import PatchMask, draw_mask

STEMS = ("linear", "convolution")
VARIANTS = [(codes, encodes) for codes in ("belief", "random", "none") for encodes in ("all", "visible")]


def make_model(**fields: Any) -> PaCoFR:
    torch.manual_seed(0)
    return PaCoFR(PaCoFRConfig.tiny(**fields))


def make_images(batch: int, size: int = 32, channels: int = 3) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(batch, channels, size, size) * 2 - 1


def make_mask(batch: int, grid: tuple[int, int] = (4, 4), ratio: float | tuple[float, float] = 0.75) -> PatchMask:
    return draw_mask(None, torch.arange(batch), grid, ratio, seed=3, step=5)


def one_of(mask: PatchMask, picture: int) -> PatchMask:
    """The mask of a single picture, by itself."""
    masked = mask.masked[picture : picture + 1]
    rows, others = (values.nonzero().squeeze(1) for values in (masked[0], ~masked[0]))
    places, other_places = (torch.where(v[0], v[0].cumsum(0) - 1, -1) for v in (masked, ~masked))
    cu = torch.tensor([0, len(others)])
    return PatchMask(masked, rows, others, places, other_places, cu, len(others))


# Shapes and configurations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codes", "encodes"), VARIANTS)
def test_every_variant_predicts_its_masked_patches(codes: str, encodes: str) -> None:
    model, mask = make_model(codes=codes, encodes=encodes), make_mask(3)
    out = model(make_images(3), mask)
    assert out.predicted.shape == out.targets.shape == (36, 192)
    assert out.truth.shape == (3, 16, 192) and out.features.shape == (12, 32)
    torch.testing.assert_close(out.targets, out.truth.flatten(0, 1)[mask.masked.flatten()])
    assert (out.beliefs is not None) == (codes == "belief")
    assert (out.tokens is None) if codes == "none" else out.tokens.shape == (36, 16)
    assert (model.belief is None) == (codes == "none")


@pytest.mark.parametrize(
    ("preset", "patches", "millions"), [("tiny", 16, 0.05), ("small", 144, 3.9), ("base", 196, 99.0)]
)
def test_presets(preset: str, patches: int, millions: float) -> None:
    config = getattr(PaCoFRConfig, preset)()
    with torch.device("meta"):
        model = PaCoFR(config)
    assert config.num_patches == patches
    count = sum(value.numel() for value in model.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.1)
    assert PaCoFRConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()


def test_base_is_a_vit_b_16_at_224() -> None:
    encoder = PaCoFRConfig.base().encoder()
    assert (encoder.image_size, encoder.patch_size) == (224, 16)
    assert (encoder.hidden_size, encoder.num_hidden_layers, encoder.num_attention_heads) == (768, 12, 12)
    with torch.device("meta"):
        count = sum(value.numel() for value in PaCoFREncoder(encoder).parameters())
    assert count == pytest.approx(85.7e6, rel=0.01)  # 86.6 million with a class token and 197 positions


def test_grey_models_take_colour_and_grey() -> None:
    encoder = make_model(channels=1).encoder.eval()
    colour = make_images(2)
    grey = colour.mean(1, keepdim=True)
    torch.testing.assert_close(encoder.forward_features(colour), encoder.forward_features(grey))
    with pytest.raises(InputError, match=r"images: shape \(2, 1, 32, 32\); they must be \(B, 3, 32, 32\)"):
        make_model().encoder.forward_features(grey)


def test_images_of_another_kind_are_refused() -> None:
    encoder = make_model().encoder
    for images in (make_images(1, 40), make_images(1)[0], make_images(1).byte()):
        with pytest.raises(InputError, match=r"^images: "):
            encoder.forward_features(images)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"codebook_size": 3, "candidates": 4}, "candidates must be at most codebook_size 3, got 4"),
        ({"image_size": 4}, "image_size 4 is less than patch_size 8: no patch fits"),
        ({"image_size": 36}, "must be positive multiples of patch_size 8, got 36 and 36"),
        ({"candidate": 4}, "PaCoFRConfig has no field 'candidate'; it has belief_size"),
        ({"channels": 4}, "channels must be 1 or 3, got 4"),
        ({"channels": True}, "channels must be 1 or 3, got True"),
        ({"code_dim": 193}, "code_dim must be at most 192, the numbers in a patch, got 193"),
        ({"belief_temperature": 0}, "belief_temperature must be a number above 0, got 0"),
        ({"straight_through": "no"}, "straight_through must be true or false, got 'no'"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps must be a number above 0, got -1.0"),
        ({"codes": "beliefs"}, "codes must be one of belief, random, none, got 'beliefs'"),
        ({"token_share": 0}, "token_share must be above 0 and at most 1, got 0"),
        ({"stem": "none"}, "stem must be one of linear, convolution, got 'none'"),
        ({"stem": "convolution", "image_size": 36, "patch_size": 6}, "patch_size must be a power of 2 from 4"),
        ({"encodes": "masked"}, "encodes must be one of all, visible, got 'masked'"),
        ({"decoder_size": 40, "decoder_heads": 4}, "decoder_size divided by its number of heads must be a multiple"),
        ({"hidden_size": 32.0}, "hidden_size must be an integer of at least 1, got 32.0"),
    ],
)
def test_impossible_configurations(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        PaCoFRConfig.tiny(**fields)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


# Folders -------------------------------------------------------------------------------------------------------------


def test_the_whole_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = make_model(channels=1, encodes="all", candidates=2, stem="convolution")
    model(make_images(2), make_mask(2))  # the codebook's statistics move
    model.eval().save_pretrained(tmp_path)
    for loaded in (PaCoFR.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert isinstance(loaded, PaCoFR)
        state = loaded.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
        found, wanted = (one.eval()(make_images(2), make_mask(2)).predicted for one in (loaded, model))
        assert torch.equal(found, wanted)


def test_the_encoder_stands_by_itself(tmp_path: Path) -> None:
    model = make_model().eval()
    model.encoder.save_pretrained(tmp_path)
    images = make_images(2)
    wanted = model.encoder.forward_features(images)
    assert wanted.shape == (2, 16, 32)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, PaCoFREncoder) and isinstance(loaded.config, PaCoFREncoderConfig)
    assert torch.equal(loaded.eval().forward_features(images), wanted)
    out = loaded(images)
    assert torch.equal(out.last_hidden_state, wanted) and torch.equal(out.pooler_output, wanted.mean(1))
    opened = open_encoder(tmp_path)
    assert (opened.image_size, opened.grid, opened.width) == (32, (4, 4), 32)
    assert torch.equal(opened.forward_features(images), wanted)
    fresh = random_encoder(tmp_path, 7).forward_features(images)
    assert fresh.shape == wanted.shape and not torch.allclose(fresh, wanted)
    assert torch.equal(random_encoder(tmp_path, 7).forward_features(images), fresh)


def test_a_head_on_frozen_features_learns_as_on_a_timm_model() -> None:
    """Freeze, pool ``forward_features``, train a linear layer: what a user of timm writes."""
    encoder = make_model().encoder.eval().requires_grad_(False)
    images = make_images(8) * 0.2 + torch.linspace(-0.8, 0.8, 8).view(8, 1, 1, 1)
    head = torch.nn.Linear(encoder.width, 1)
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    wanted = torch.linspace(-1, 1, 8)
    losses = []
    for _ in range(40):
        loss = (head(encoder.forward_features(images).mean(1)).squeeze(1) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(value.grad is None for value in encoder.parameters())


def test_named_features_end_with_the_last_layer() -> None:
    encoder = make_model(num_hidden_layers=4).encoder.eval()
    named = encoder.forward_named_features(make_images(2))
    assert set(named) == {"last layer", "penultimate layer", "middle layer"}
    assert torch.equal(named["last layer"], encoder.forward_features(make_images(2)))
    torch.testing.assert_close(encoder.norm(encoder.layers[3](named["penultimate layer"])), named["last layer"])


# Tokens --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("straight_through", [False, True])
def test_tokens_are_mixtures_of_the_nearest_codes(candidates: int, straight_through: bool) -> None:
    model = make_model(candidates=candidates, straight_through=straight_through).eval()
    beliefs = model(make_images(3), make_mask(3)).beliefs
    codes = model.belief.codebook.codebook.detach()
    queries = beliefs.queries.detach().double()
    scores = -(queries[:, None] - codes.double()).square().sum(2) / model.config.belief_temperature
    best, places = scores.topk(candidates, 1)
    assert torch.equal(beliefs.candidates, places)
    weights = best.softmax(1)
    torch.testing.assert_close(beliefs.weights.double(), weights, rtol=1e-3, atol=1e-4)
    mixed = (weights[:, :, None] * codes.double()[places]).sum(1)
    wanted = codes[places[:, 0]].double() if straight_through else mixed
    torch.testing.assert_close(beliefs.tokens.double(), wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(beliefs.usage, torch.tensor(len(places[:, 0].unique()) / len(codes)))


def test_straight_through_has_the_gradient_of_the_mixture() -> None:
    gradients = []
    for straight_through in (False, True):
        model = make_model(straight_through=straight_through).eval()
        patches = torch.randn(5, 192, generator=torch.Generator().manual_seed(0))
        (model.belief(patches).tokens * torch.arange(16)).sum().backward()
        gradients.append([value.grad for value in model.belief.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)


def test_codes_are_mixed_where_they_lay_when_they_were_chosen() -> None:
    """Revival moves dead codes in the same call; a candidate among them must not become another code."""
    model = make_model(candidates=8)
    model.belief.codebook.cluster_size.fill_(0.01)
    model.belief.codebook.cluster_size[0] = 1000.0  # all others are dead
    before = model.belief.codebook.codebook.detach().clone()
    beliefs = model.belief(torch.randn(200, 192))
    after = model.belief.codebook.codebook.detach()
    assert (before != after).any(1).sum() > 16
    wanted = torch.einsum("rk,rkd->rd", beliefs.weights, before[beliefs.candidates])
    torch.testing.assert_close(beliefs.tokens, wanted)


def test_random_codes_say_nothing_of_their_patch_and_are_codes() -> None:
    model, mask, images = make_model(codes="random").eval(), make_mask(3), make_images(3)
    out = model(images, mask)
    codes = model.belief.codebook.codebook
    assert ((out.tokens[:, None] - codes).abs().sum(2).min(1).values == 0).all()
    assert not torch.equal(model(images, mask).tokens, out.tokens)
    torch.manual_seed(4)
    one = model(images, mask).tokens
    torch.manual_seed(4)
    assert torch.equal(model(-images, mask).tokens, one)


def test_a_share_of_the_masked_patches_has_tokens() -> None:
    model, images, mask = make_model(token_share=0.25).eval(), make_images(40), make_mask(40)
    given = model._given(torch.ones(480, 32)).any(1)
    assert 0.18 < float(given.float().mean()) < 0.32
    assert make_model()._given(torch.ones(480, 32)).all()
    torch.manual_seed(0)
    one = model(images, mask).predicted
    torch.manual_seed(0)
    assert torch.equal(model(images, mask).predicted, one)
    assert not torch.equal(model(images, mask).predicted, one)


def test_codes_start_as_patterns_of_pixels() -> None:
    model = make_model()
    coarse = torch.nn.functional.interpolate(torch.randn(400, 3, 3, 3), (8, 8), mode="bilinear")
    patches = normalised_patches(coarse.flatten(1))
    model.belief.start(patches, 0)
    targets = model.belief.targets(patches)
    assert 0.5 < targets.norm(dim=1).mean() < 1.5
    distances = torch.cdist(targets, model.belief.codebook.codebook.detach()).min(1).values
    assert distances.mean() < 0.8 * targets.norm(dim=1).mean()
    other = make_model()
    other.belief.start(patches, 0)
    assert torch.equal(other.belief.codebook.weight, model.belief.codebook.weight)


def test_fewer_patches_than_codes_do() -> None:
    model = make_model()
    model.belief.start(torch.randn(5, 192), 0)
    assert model.belief.codebook.weight.isfinite().all()
    assert len(model.belief.codebook.weight.unique(dim=0)) <= 5


# Packing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "encodes", "stem"),
    [("belief", "visible", "linear"), ("none", "visible", "convolution"), ("belief", "all", "convolution")],
)
def test_pictures_of_a_range_of_ratios_are_each_what_they_are_alone(codes: str, encodes: str, stem: str) -> None:
    model, images = make_model(codes=codes, encodes=encodes, stem=stem).eval(), make_images(5)
    mask = make_mask(5, ratio=(0.3, 0.9))
    assert mask.visible_each is None and len({int(row.sum()) for row in mask.masked}) > 1
    out = model(images, mask)
    alone = [model(images[b : b + 1], one_of(mask, b)) for b in range(5)]
    for name in ("predicted", "features", "targets"):
        wanted = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(getattr(out, name), wanted, rtol=1e-4, atol=1e-5)


def test_packed_is_stacked_where_the_counts_agree() -> None:
    model, images = make_model().eval(), make_images(4)
    stacked = make_mask(4, ratio=0.5)
    assert stacked.visible_each == 8
    packed = dataclasses.replace(stacked, visible_each=None)
    one, other = model(images, stacked), model(images, packed)
    torch.testing.assert_close(one.predicted, other.predicted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.features, other.features, rtol=1e-4, atol=1e-5)


# Gradients and secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [1, 4])
@pytest.mark.parametrize(("codes", "encodes"), VARIANTS)
def test_the_loss_reaches_every_parameter(codes: str, encodes: str, candidates: int) -> None:
    """One without a gradient would stop a training of several processes."""
    stem = STEMS[candidates > 1]
    model = make_model(codes=codes, encodes=encodes, candidates=candidates, token_share=0.5, stem=stem)
    out = model(make_images(3), make_mask(3))
    (out.predicted - out.targets).square().mean().backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert not without
    still = {name for name, value in model.named_parameters() if not value.grad.any()}
    # With one candidate there is nothing to choose: its predictor learns by incubation alone.
    predictor = {f"belief.{part}.{kind}" for part in ("expand", "query") for kind in ("weight", "bias")}
    assert still == (predictor if codes == "belief" and candidates == 1 else set())


def test_one_candidate_has_a_weight_of_exactly_1() -> None:
    assert (make_model(candidates=1)(make_images(2), make_mask(2)).beliefs.weights == 1).all()


def hidden_pixels_changed(images: Tensor, mask: PatchMask, value: float) -> Tensor:
    """The pictures with ``value`` in all masked patches."""
    hidden = mask.masked.view(-1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return torch.where(hidden, value, images)


@pytest.mark.parametrize("ratio", [0.75, (0.4, 0.8)])
@pytest.mark.parametrize("encodes", ["all", "visible"])
@pytest.mark.parametrize("stem", STEMS)
def test_without_tokens_nothing_is_known_of_masked_pixels(stem: str, encodes: str, ratio: Any) -> None:
    model, images = make_model(codes="none", encodes=encodes, stem=stem).eval(), make_images(3)
    mask = make_mask(3, ratio=ratio)
    wanted = model(images, mask)
    for value in (0.3, float("nan")):
        found = model(hidden_pixels_changed(images, mask, value), mask)
        assert torch.equal(found.predicted, wanted.predicted) and torch.equal(found.features, wanted.features)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("encodes", ["all", "visible"])
def test_with_tokens_masked_pixels_speak_through_them_alone(encodes: str, stem: str) -> None:
    """The prediction is a function of the visible pixels and the tokens: the same tokens, the same prediction."""
    model, images, mask = make_model(encodes=encodes, stem=stem).eval(), make_images(3), make_mask(3)
    wanted = model(images, mask)
    hidden = hidden_pixels_changed(torch.zeros_like(images), mask, 1.0) == 1
    changed = torch.where(hidden, images.flip(0, 3), images)
    assert not torch.allclose(model(changed, mask).predicted, wanted.predicted)
    model._tokens = lambda targets, mask: (wanted.beliefs, wanted.tokens)  # type: ignore[method-assign]
    assert torch.equal(model(changed, mask).predicted, wanted.predicted)


def test_places_without_a_patch_change_nothing() -> None:
    """On a GPU the host knows only a bound of what a range of ratios masks: the rest of the rows is −1."""
    images, exact = make_images(4), make_mask(4, ratio=(0.3, 0.9))
    more = torch.full((7,), -1)
    padded = PatchMask(
        exact.masked,
        torch.cat([exact.masked_rows, more]),
        torch.cat([exact.visible_rows, more]),
        exact.masked_places,
        exact.visible_places,
        exact.cu_visible,
        None,
        padded=True,
    )
    outs, states = [], []
    for mask in (exact, padded):
        model = make_model()
        outs.append(model(images, mask))
        states.append({name: value.clone() for name, value in model.belief.codebook.named_buffers()})
    count = len(exact.masked_rows)
    torch.testing.assert_close(outs[1].predicted[:count], outs[0].predicted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outs[1].features[: len(exact.visible_rows)], outs[0].features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outs[1].beliefs.usage, outs[0].beliefs.usage)
    torch.testing.assert_close(states[1]["cluster_size"], states[0]["cluster_size"])
    assert padded.usable is not None and int(padded.usable.sum()) == count and exact.usable is None
