"""Every name of the vocabulary through every table and command: each works, or is refused at once with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gptface.cli.edit as edit_command
from gptface.cli.main import main
from gptface.data.labels import UNKNOWN, attribute_labels, expression_label
from gptface.data.procedural import FaceSpecification, attributes, wish_caption, with_attribute
from gptface.errors import InputError
from gptface.faces.areas import ZONES, area_mask, region_area
from gptface.faces.attributes import ATTRIBUTES, LABELLED_ATTRIBUTES, attribute_area, split_attribute
from gptface.faces.expressions import EXPRESSIONS, LABELLED_EXPRESSIONS, expression_area
from gptface.faces.occluders import OCCLUDERS
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.templates import TEMPLATES
from gptface.systems.gptface.generation import DecodingSettings, FaceGenerator
from gptface.systems.gptface.generation.wishes import attribute_wish, expression_wish, plain_caption
from tests.systems.gptface.generation.systems import tiny_system

WISHES = [wish for name in ATTRIBUTES for wish in (name, f"no {name}")]
SIZE = 48


def full_map() -> np.ndarray:
    """A face of which every region is to be seen."""
    labels = TEMPLATES["portrait"].region_map(SIZE)
    labels[1:5, 15:33] = region_label("hat")
    labels[20:26, 14:18] = region_label("glasses")
    labels[36:40, 28:34] = region_label("occluder")
    assert set(np.unique(labels)) == set(range(len(REGIONS)))
    return labels


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo; beside it ``regions.png``, its region map."""
    root = tmp_path_factory.mktemp("vocabulary")
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "photo.png")
    Image.fromarray(full_map()).save(root / "regions.png")
    return root / "photo.png"


@pytest.fixture(scope="module")
def generator() -> FaceGenerator:
    return FaceGenerator(tiny_system(), settings=DecodingSettings(steps=1), describe=wish_caption)


def test_there_are_as_many_names_as_their_sources_have() -> None:
    assert len(ATTRIBUTES) == 40 and len(LABELLED_ATTRIBUTES) == 26 and set(LABELLED_ATTRIBUTES) < set(ATTRIBUTES)
    assert len(EXPRESSIONS) == 8 and set(EXPRESSIONS) - set(LABELLED_EXPRESSIONS) == {"contempt"}
    assert len(REGIONS) == 13 and len(ZONES) == 11 and not set(REGIONS) & set(ZONES)
    assert [region_label(name) for name in REGIONS] == list(range(len(REGIONS)))
    with pytest.raises(InputError, match="'beak' is not a region"):
        region_label("beak")


@pytest.mark.parametrize("wish", WISHES)
def test_every_attribute_has_an_area_words_and_a_label_or_a_reason_for_none(wish: str) -> None:
    name, wanted = split_attribute(wish)
    assert area_mask(full_map(), attribute_area(wish)).any()
    attribute = ATTRIBUTES[name]
    assert attribute.name == name and attribute.present and attribute.absent
    assert set(attribute.excludes) <= set(ATTRIBUTES) - {name}
    for describe in (wish_caption, plain_caption):
        facts = attribute_wish(wish, {}, None)
        said, opposite = describe(*facts), describe({name: int(not wanted)}, None, [name])
        assert said not in ("", "a person", "a face", opposite), said
    plain = attribute.present[0] if wanted else attribute.absent[0]
    assert plain in plain_caption({name: int(wanted)}, None, [name])

    labels = attribute_labels({"attributes": {name: int(wanted)}})
    face = FaceSpecification()
    if name in LABELLED_ATTRIBUTES:
        column = LABELLED_ATTRIBUTES.index(name)
        assert labels[column] == wanted and np.isfinite(labels).sum() == 1
        assert attributes(with_attribute(face, name, wanted))[name] == wanted
    else:
        assert np.isnan(labels).all()
        with pytest.raises(InputError, match=f"{name}' is none that procedural faces show"):
            with_attribute(face, name, wanted)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_expression_has_an_area_words_and_a_label_or_a_reason_for_none(name: str) -> None:
    assert area_mask(full_map(), expression_area(name)).any()
    words = EXPRESSIONS[name]
    caption = wish_caption(*expression_wish(name, {}))
    assert any(phrase in caption for phrase in words.adjectives + words.nouns), caption
    assert words.nouns[0] in plain_caption(*expression_wish(name, {}))
    label = expression_label({"expression": name})
    if name in LABELLED_EXPRESSIONS:
        assert LABELLED_EXPRESSIONS[label] == name == FaceSpecification(expression=name).expression
    else:
        assert label == UNKNOWN
        with pytest.raises(InputError, match=f"expression is '{name}'; it must be one of"):
            FaceSpecification(expression=name)


@pytest.mark.parametrize("name", OCCLUDERS)
def test_every_occluder_is_said_and_hides_attributes_of_the_table(name: str) -> None:
    occluder = OCCLUDERS[name]
    caption = wish_caption({"Male": 1}, occluder=name)
    assert any(phrase in caption for phrase in occluder.things + occluder.clauses), caption
    assert occluder.hides and occluder.hides <= set(LABELLED_ATTRIBUTES)
    assert FaceSpecification(occluder=name).occluder == name


@pytest.mark.parametrize(
    "options",
    [
        *(("--attribute", wish) for wish in WISHES),
        *(("--expression", name) for name in EXPRESSIONS),
        *(("--region", name, "--caption", "a man") for name in (*REGIONS, *ZONES)),
        *(("--template", name, "--attribute", "Bangs") for name in TEMPLATES),
    ],
    ids=lambda options: " ".join(options[:2]),
)
def test_every_name_works_in_an_edit(
    options: tuple[str, ...],
    photo: Path,
    tmp_path: Path,
    generator: FaceGenerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(edit_command, "load_generator", lambda *_: generator)
    output = tmp_path / "out.png"
    regions = () if "--template" in options else ("--region-map", str(photo.with_name("regions.png")))
    common = ["--system", "unused", "--steps", "1", "--guidance-scale", "1", "--match-guidance", "none"]
    assert main(["edit", str(photo), "--output", str(output), *common, *regions, *options]) == 0
    assert (np.asarray(Image.open(output)) != np.asarray(Image.open(photo))).any()
    source = "template" if "--template" in options else "region map"
    assert f"found by the {source}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "name", "nearest"),
    [
        ("--attribute", "Oval Face", "Oval_Face"),
        ("--attribute", "no Glasses", "Eyeglasses"),
        ("--attribute", "no ", "must be one of"),
        ("--expression", "contemptuous", "contempt"),
        ("--region", "eyebrow", "brows"),
        ("--region", "hair,", "regions are"),
        ("--template", "portraits", "portrait"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_is_loaded(
    option: str,
    name: str,
    nearest: str,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(edit_command, "load_generator", lambda *_: pytest.fail("loaded"))
    options = ["--system", "unused", "--output", str(tmp_path / "out.png"), "--caption", "a man", option, name]
    assert main(["edit", str(photo), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is unknown" in error and nearest in error, error


def test_no_region_is_named() -> None:
    with pytest.raises(InputError, match="at least one name"):
        region_area([])
