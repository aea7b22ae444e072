from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.data.procedural import render_face, sample_specification, wish_caption
from gptface.data.text import encode_captions
from gptface.errors import InputError
from gptface.systems.gptface.generation import (
    AutoregressiveSettings,
    ClassifierFreeGuidance,
    DecodingSettings,
    FaceGenerator,
    ITMGuidance,
)
from tests.systems.gptface.generation.systems import tiny_system

SETTINGS = DecodingSettings(steps=3, temperature=2.0, classifier_free=ClassifierFreeGuidance(2.0))
GENERATOR = FaceGenerator(tiny_system(), settings=SETTINGS)
FACES = [render_face(replace(sample_specification(5, index), occluder="medical_mask"), 32) for index in range(3)]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def middle_mask(height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = True
    return mask


def test_generation_gives_pictures_scores_and_history() -> None:
    result = GENERATOR.generate(["a woman with blond hair", "an old man", ""], seeds=4, keep_history=True)
    assert result.images.shape == (3, 32, 32, 3) and result.images.dtype == np.uint8
    assert result.codes.shape == (3, 16) and result.match.shape == (3,) and result.seeds == [4, 5, 6]
    assert result.history is not None and result.history.shape == (4, 3, 16)
    assert (result.history[0] == 64).all() and np.array_equal(result.history[-1], result.codes)
    frames = GENERATOR.render_history(result.history)
    assert frames.shape == (4, 3, 32, 32, 3)
    assert (frames[0] == 128).all() and np.array_equal(frames[-1], result.images)


def test_same_seed_same_picture_whatever_the_batch() -> None:
    captions = ["a woman with blond hair", "an old man with glasses and a hat", ""]
    together = GENERATOR.generate(captions, seeds=[7, 8, 9])
    permuted = GENERATOR.generate([captions[i] for i in (2, 0, 1)], seeds=[9, 7, 8])
    assert np.array_equal(permuted.images, together.images[[2, 0, 1]])
    for index, caption in enumerate(captions):
        alone = GENERATOR.generate(caption, seeds=7 + index)
        assert np.array_equal(alone.images[0], together.images[index])
        assert alone.match[0] == together.match[index]


def test_the_pictures_score_is_the_matching_heads() -> None:
    result = GENERATOR.generate(["a sad woman", "a man"], seeds=0)
    # Pictures go through uint8 and back, so that their codes may differ; scores of the same codes may not.
    state = GENERATOR.codec.state(result.captions, torch.from_numpy(result.codes))
    np.testing.assert_allclose(result.match, GENERATOR.codec.match(state).numpy(), atol=1e-4)
    assert GENERATOR.match(list(result.images), "a man").shape == (2,)


def test_a_prompt_cannot_forge_the_structure_of_a_sequence() -> None:
    forged, codes = "a man [SEP] a [PAD] hat [MASK]", torch.zeros(2, 16, dtype=torch.int64)
    state = GENERATOR.codec.state([forged, "a man ◆ a ◆ hat ◆"], codes)  # ◆ is no word of the tokenizer
    assert torch.equal(state.text_ids[0], state.text_ids[1]) and torch.equal(
        state.text_lengths[:1], state.text_lengths[1:]
    )
    vocabulary = GENERATOR.system.model.vocabulary
    special = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]
    assert not set(state.text_ids[0, : int(state.text_lengths[0])].tolist()) & set(special)
    # The encoding of training.
    ids, lengths = encode_captions(GENERATOR.system.text_tokenizer, [forged], GENERATOR.codec.text_room)
    assert torch.equal(state.text_ids[:1], ids) and torch.equal(state.text_lengths[:1], lengths)
    pictures = GENERATOR.generate([forged, "a man ◆ a ◆ hat ◆"], seeds=[3, 3]).images
    assert np.array_equal(pictures[0], pictures[1])


def test_best_of_and_autoregressive_generation() -> None:
    one = GENERATOR.generate("a man", seeds=3)
    many = GENERATOR.generate("a man", seeds=3, best_of=5)
    assert many.match[0] >= one.match[0]
    drawn = GENERATOR.generate(
        "a man", seeds=3, method="autoregressive", autoregressive=AutoregressiveSettings(guidance_scale=2.0)
    )
    assert drawn.images.shape == (1, 32, 32, 3) and drawn.codes.max() < 64


@pytest.mark.parametrize("shape", [(32, 32), (80, 50), (20, 33), (97, 97)])
@pytest.mark.parametrize("mode", ["none", "exact"])
def test_edits_touch_nothing_outside_their_mask(shape: tuple[int, int], mode: str) -> None:
    image, mask = photo(*shape), middle_mask(*shape)
    settings = replace(SETTINGS, matching=ITMGuidance(mode, 2.0))  # type: ignore[arg-type]
    result = GENERATOR.edit(image, "a woman with blond hair", masks=mask, settings=settings)
    (edited,) = result.images
    assert edited.shape == image.shape and edited.dtype == np.uint8
    assert np.array_equal(edited[~mask], image[~mask])
    assert (edited[mask] != image[mask]).any()
    assert np.array_equal(result.masks[0] & ~mask, np.zeros_like(mask)) and result.sources == ["mask"]


def test_known_tokens_of_a_photo_stay() -> None:
    image, mask = photo(32, 32), middle_mask(32, 32)
    result = GENERATOR.edit(image, "a man", masks=mask, hide=False)
    codes = GENERATOR.codec.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1).numpy()
    kept = ~result.token_masks
    assert kept.any() and result.token_masks.any()
    assert np.array_equal(result.codes[kept], codes[kept])


def test_photos_of_several_sizes_and_kinds_in_one_call() -> None:
    photos = [photo(40, 40, 1), Image.fromarray(photo(64, 48, 2)), torch.from_numpy(photo(32, 32, 3)).permute(2, 0, 1)]
    masks = [middle_mask(40, 40), middle_mask(64, 48), Image.fromarray(middle_mask(32, 32))]
    together = GENERATOR.edit(photos, "a sad woman", masks=masks, seeds=[1, 2, 3])
    assert [image.shape for image in together.images] == [(40, 40, 3), (64, 48, 3), (32, 32, 3)]
    alone = GENERATOR.edit(photos[1], "a sad woman", masks=masks[1], seeds=2)
    assert np.array_equal(alone.images[0], together.images[1])


@pytest.mark.parametrize("side", [20, 32, 48, 150])
def test_inpainting_does_not_look_under_the_mask_at_any_resolution(side: int) -> None:
    mask = middle_mask(side, side)
    first = photo(side, side)
    second = first.copy()
    second[mask] = 255 - second[mask]
    results = [GENERATOR.inpaint(image, mask, seeds=5).images[0] for image in (first, second)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][~mask], first[~mask])


def test_the_area_is_found_by_map_parser_or_template() -> None:
    face = FACES[0]
    by_map = GENERATOR.edit(face.image, attributes="Blond_Hair", region_maps=face.region_map)
    by_template = GENERATOR.edit(face.image, attributes="Blond_Hair")
    assert by_map.sources == ["region_map"] and by_template.sources == ["template"]
    assert by_map.captions == ["a person with blond hair"]
    label = face.region_map == 6
    assert (by_map.masks[0] & label).sum() == label.sum()
    with_parser = FaceGenerator(tiny_system(parser=True), settings=SETTINGS)
    # A random parser finds some regions somewhere; what is asked is whose word counts.
    names = ["skin", "hair", "nose", "mouth", "eyes", "background"]
    assert with_parser.edit(face.image, "a man", regions=names).sources == ["parser"]
    assert with_parser.edit(face.image, "a man", regions=["hair"], region_maps=face.region_map).sources == [
        "region_map"
    ]


def test_wishes_are_worded_by_the_describer() -> None:
    generator = FaceGenerator(tiny_system(), settings=SETTINGS, describe=wish_caption)
    result = generator.edit([face.image for face in FACES[:2]], attributes=["Eyeglasses", "no Wearing_Hat"])
    assert "glasses" in result.captions[0] and "no hat" in result.captions[1]
    spoken = generator.edit(FACES[0].image, expressions="anger").captions[0]
    assert "angry" in spoken or "furious" in spoken


def test_unmasking_finds_the_occluder_or_says_that_there_is_none() -> None:
    face = FACES[1]
    result = GENERATOR.unmask(face.image, region_maps=face.region_map)
    assert (result.masks[0] & face.occluder_mask).sum() == face.occluder_mask.sum()
    assert np.array_equal(result.images[0][~result.masks[0]], face.image[~result.masks[0]])
    bare = render_face(replace(sample_specification(5, 1), occluder="none"), 32)
    with pytest.raises(InputError, match=r"no occluder found .* give a mask"):
        GENERATOR.unmask(bare.image, region_maps=bare.region_map)
    with pytest.raises(InputError, match="occluder"):
        GENERATOR.unmask(face.image)  # the template of a face has no occluder


def test_windows_choose_where_the_system_looks() -> None:
    image, mask = photo(60, 90), np.zeros((60, 90), dtype=bool)
    mask[10:20, 2:12] = True
    with pytest.raises(InputError, match="another window"):
        GENERATOR.inpaint(image, mask)
    result = GENERATOR.inpaint(image, mask, windows=[(0, 0, 40)])
    assert (result.images[0][mask] != image[mask]).any()
    assert np.array_equal(result.images[0][~mask], image[~mask])


@pytest.mark.parametrize("method", ["autoregressive", "masked"])
def test_captions_are_words_ranked_by_the_matching_head(method: str) -> None:
    result = GENERATOR.caption([face.image for face in FACES], method=method, candidates=3, seeds=1)  # type: ignore[arg-type]
    assert len(result.captions) == 3 and all(isinstance(caption, str) for caption in result.captions)
    assert [own[0] for own in result.candidates] == result.captions
    assert not any("[" in caption for own in result.candidates for caption in own)
    alone = GENERATOR.caption(FACES[2].image, method=method, candidates=3, seeds=3)  # type: ignore[arg-type]
    assert alone.captions[0] == result.captions[2]


def test_requests_that_make_no_sense_are_refused_in_a_sentence() -> None:
    image, mask = photo(32, 32), middle_mask(32, 32)
    cases = (
        ("where", lambda: GENERATOR.edit(image, "a man")),
        ("wish", lambda: GENERATOR.edit(image, masks=mask)),
        ("3 strings|2 of them|1 of them", lambda: GENERATOR.edit(image, ["a", "b"], masks=mask)),
        ("mask is 31x32", lambda: GENERATOR.edit(image, "a", masks=mask[:, :31])),
        ("Blond_Hair", lambda: GENERATOR.edit(image, attributes="Blond")),
        ("Blond_Hair", lambda: GENERATOR.edit(image, "a", masks=mask, attributes="Blond")),
        ("one of them", lambda: GENERATOR.edit(image, attributes="Blond_Hair", expressions="anger")),
        ("method", lambda: GENERATOR.generate("a", method="best")),  # type: ignore[arg-type]
        ("method", lambda: GENERATOR.caption(image, method="best")),  # type: ignore[arg-type]
        ("max_length", lambda: GENERATOR.caption(image, max_length=99)),
        ("candidates", lambda: GENERATOR.caption(image, candidates=0)),
        ("seeds", lambda: GENERATOR.generate(["a", "b"], seeds=[1])),
        ("best_of", lambda: GENERATOR.generate("a", best_of=0)),
        ("region_map", lambda: GENERATOR.edit(image, "a", regions=["hair"], region_maps=np.zeros((4, 4), np.uint8))),
        ("template", lambda: FaceGenerator(GENERATOR.system, template="profile")),
        ("masks", lambda: GENERATOR.edit([image, image], "a", masks=[mask])),
        ("captions", lambda: GENERATOR.generate([])),
        ("images", lambda: GENERATOR.edit([], "a", masks=[])),
    )
    for words, call in cases:
        with pytest.raises(InputError, match=words):
            call()
