"""Configurations: what they accept, what they refuse, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.data.paths import expand_paths
from gptface.errors import InputError
from gptface.systems.gptface.configuration import Configuration
from gptface.systems.gptface.pretraining import language_config, other_tokenizer
from gptface.systems.parser.configuration import Configuration as ParserConfiguration
from gptface.systems.parser.training import parser_config
from gptface.training.configuration import LoopSection
from gptface.training.configuration_files import (
    configuration_to_yaml,
    differing_keys,
    load_configuration,
    named_configurations,
)


@pytest.mark.parametrize("name", ["demo", "tiny", "small", "base", "real-faces"])
def test_shipped_configurations_load_and_name_models_that_exist(name: str) -> None:
    assert name in named_configurations(Configuration)
    configuration = load_configuration(Configuration, name)
    tokenizer = configuration.tokenizer_config()
    assert tokenizer.image_size == configuration.data.image_size
    language = language_config(
        configuration,
        image_grid=list(tokenizer.grid),
        codebook_size=tokenizer.codebook_size,
        max_text_length=configuration.data.text_length,
    )
    assert language.num_image_tokens == tokenizer.grid[0] * tokenizer.grid[1]
    for_the_parser = load_configuration(ParserConfiguration, name)
    assert name in named_configurations(ParserConfiguration)
    assert parser_config(for_the_parser).image_size == configuration.data.image_size


def test_a_configuration_prints_itself_and_reads_back(tmp_path: Path) -> None:
    configuration = load_configuration(Configuration, "demo", ["pretrain.learning_rate=1e-4", "data.seed=3"])
    assert configuration.pretrain.learning_rate == 1e-4  # YAML 1.1 would read 1e-4 as a string
    path = tmp_path / "again.yaml"
    path.write_text(configuration_to_yaml(configuration))
    assert load_configuration(Configuration, path) == configuration


def test_overrides_reach_nested_fields_and_later_ones_win(tmp_path: Path) -> None:
    configuration = load_configuration(
        Configuration,
        "tiny",
        ["pretrain.regimes={masked: 1, text_to_image: 0, image_to_text: 0}", "pretrain.steps=3", "pretrain.steps=5"],
    )
    assert configuration.pretrain.steps == 5
    assert configuration.pretrain.regimes.text_to_image == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pretrain.stepz=3", ["unknown key pretrain.stepz", "pretrain.steps?"]),
        ("tokenizer.losses.adverserial=1", ["tokenizer.losses.adverserial", "tokenizer.losses.adversarial?"]),
        ("training.steps=3", ["unknown key training", "pretrain"]),
        ("pretrain.steps=0", ["pretrain.steps", "greater than or equal to 1", "got 0"]),
        ("pretrain.precision=fp8", ["pretrain.precision", "'bf16'", "got 'fp8'"]),
        ("pretrain.regimes.masked=0.9", ["pretrain.regimes", "must be 1", "1.4"]),
        ("pretrain.image_masks={random: 0, blocks: 0, regions: 0}", ["pretrain.image_masks", "more than 0"]),
        ("tokenizer.losses.regions={chin: 2}", ["tokenizer.losses", "'chin'", "mouth"]),
        ("data.caption_detail=2", ["data.caption_detail", "got 2"]),
        ("tokenizer.model.codebok_size=3", ["tokenizer.model", "'codebok_size'", "codebook_size"]),
        ("tokenizer.model.channels=[7,-1]", ["tokenizer.model", "channels"]),
        ("tokenizer.model.image_size=64", ["tokenizer.model.image_size", "data.image_size"]),
        ("data.source=shards", ["data.train"]),
        ("data.train=[faces.tar]", ["data.source"]),
        ("data.captions_per_face=0", ["data.captions_per_face", "got 0"]),
        ("data=3", ["data", "section", "got 3"]),
        ("pretrain.steps.more=3", ["pretrain.steps"]),
        ("pretrain.learning_rate=.nan", ["pretrain.learning_rate"]),
        ("steps", ["'steps'", "section.key=value"]),
        ("pretrain.steps=[1", ["pretrain.steps=[1", "YAML"]),
    ],
)
def test_a_mistake_is_named_in_one_sentence(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_configuration(Configuration, "tiny", [override])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_pair_weighting_needs_cached_codes() -> None:
    with pytest.raises(InputError, match=r"pretrain\.pair_weighting\.start: less than 1 needs cache_codes"):
        load_configuration(Configuration, "tiny", ["pretrain.pair_weighting.start=0.5", "pretrain.cache_codes=false"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain.losses.contrastive=1"], r"losses\.contrastive: needs model\.alignment_size, which is 0"),
        (["pretrain.contrastive.alone=0.1"], r"contrastive\.alone: needs losses\.contrastive, which is 0"),
        (
            ["pretrain.batch_size=8", "pretrain.contrastive.pairs=9", "pretrain.cache_codes=false"],
            r"contrastive\.pairs: more than batch_size \(8\) needs cache_codes",
        ),
    ],
)
def test_contrastive_learning_needs_towers_and_pairs(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_configuration(Configuration, "tiny", overrides)


def test_several_mistakes_are_counted() -> None:
    with pytest.raises(InputError, match="and 2 more mistakes"):
        load_configuration(Configuration, "tiny", ["pretrain.steps=0", "tokenizer.steps=0", "data.seed=-1"])


def test_minutes_alone_mean_no_limit_of_steps() -> None:
    assert LoopSection.model_validate({"minutes": 2}).steps is None
    assert LoopSection.model_validate({"minutes": 2, "steps": 7}).steps == 7
    with pytest.raises(InputError, match="give steps or minutes"):
        load_configuration(Configuration, "tiny", ["pretrain.steps=null"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [", ["not valid YAML", "line"]),
        ("- a\n- b\n", ["sections", "list"]),
        ("data: {seed: 1}\ndata: {seed: 2}\n", ["'data'", "given twice", "line 2"]),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_configuration(Configuration, path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_name_that_is_neither_file_nor_shipped_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: is neither a file nor .*demo.*tiny"):
        load_configuration(Configuration, "nowhere.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert load_configuration(Configuration, path) == Configuration()


def test_model_fields_that_other_sections_fix_are_refused() -> None:
    configuration = load_configuration(Configuration, "tiny", ["pretrain.model.codebook_size=5"])
    with pytest.raises(InputError, match=r"pretrain\.model\.codebook_size: follows from the image tokenizer"):
        language_config(configuration)


def test_a_tokenizer_that_its_section_does_not_describe_is_mentioned() -> None:
    section = Configuration().tokenizer_config()
    assert other_tokenizer(section, Configuration().tokenizer_config()) is None
    other = load_configuration(Configuration, "tiny", ["tokenizer.model.codebook_size=32"]).tokenizer_config()
    note = other_tokenizer(section, other)
    assert note is not None and "given has 32 codes on 4×4 tokens" in note and "is not used" in note


def test_paths_expand_variables_and_say_which_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACES_FOR_TEST", "/faces")
    monkeypatch.delenv("FACES_NOT_SET", raising=False)
    assert expand_paths(["$FACES_FOR_TEST/a.tar"], "data.train") == ["/faces/a.tar"]
    with pytest.raises(InputError, match=r"data\.train: '\$FACES_NOT_SET/a\.tar'"):
        expand_paths(["$FACES_NOT_SET/a.tar"], "data.train")


def test_differing_keys_name_leaves() -> None:
    ours = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    theirs = {"a": {"b": 2, "c": [1, 2]}, "e": 4}
    assert differing_keys(ours, ours) == []
    assert differing_keys(ours, theirs) == [("a.b", 1, 2), ("d", 3, None), ("e", None, 4)]
