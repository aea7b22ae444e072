"""``push_to_hub`` of every class, against a stand-in for the Hub: files, card, and that the card's lines load them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from gptface.errors import InputError
from gptface.hub import RunFacts, model_card
from gptface.hub.run_facts import without_folders
from gptface.hub.sharing import forget_folders
from gptface.models import FaceParser, FaceParserConfig, FaceTokenizer, FaceTokenizerConfig
from gptface.systems.facegpt.adapter import FaceAdapter, push_adapter_to_hub
from gptface.systems.gptface.stages import TOKENIZER
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.model import PaCoFR
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import tiny
from tests.hub.stand_in import StandIn
from tests.systems.facegpt.adapter.bases import base, tokenizer
from tests.systems.facegpt.small_system import small_system
from tests.systems.gptface.generation.systems import tiny_system


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "hub", monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tokenizer with a validation, in a folder whose name may not be told."""
    folder = tmp_path_factory.mktemp("secret")
    sizes = ["data.image_size=32", "data.count=16", "data.validation_count=4"]
    run_stage(TOKENIZER, tiny(folder / "cache", *sizes, "tokenizer.steps=2"), folder / "run", verbose=False)
    return folder / "run"


def one_pacofr() -> PaCoFR:
    return PaCoFR(PaCoFRConfig.tiny())


MODELS: dict[str, Callable[[], Any]] = {
    "FaceTokenizer": lambda: FaceTokenizer(FaceTokenizerConfig.tiny()),
    "FaceParser": lambda: FaceParser(FaceParserConfig.tiny()),
    "FaceLanguageModel": lambda: tiny_system().model,
    "PaCoFR": one_pacofr,
    "PaCoFREncoder": lambda: one_pacofr().encoder,
    "FaceGPT": lambda: small_system().model,
}


def lines_of(card: ModelCard, folder: Path) -> dict[str, Any]:
    """What the card's lines of Python make, with the uploaded folder in place of the repository's name."""
    code = card.text.split("```python\n")[1].split("```")[0]
    made: dict[str, Any] = {}
    if "snapshot_download" not in code:
        code = code.replace("somebody/model", str(folder))
    exec(compile(code, "card", "exec"), made)
    return made


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_shared_and_its_card_loads_it(hub: StandIn, name: str) -> None:
    model = MODELS[name]().eval()
    assert model.push_to_hub("model").endswith("somebody/model/commit/1")
    folder = hub.folder / "somebody" / "model"
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "gptface" and card.data.tags[:2] == ["gptface", "faces"]
    loaded = lines_of(ModelCard(str(card).replace('"model"', '"somebody/model"')), folder)
    found = next(value for value in loaded.values() if type(value) is type(model))
    assert state(model).keys() == state(found).keys()
    assert all(torch.equal(value, state(found)[key]) for key, value in state(model).items())
    assert f"{sum(value.numel() for value in model.parameters()):,} weights" in card.text


def test_card_says_what_the_run_says_and_no_folder(hub: StandIn, run: Path) -> None:
    (run / "evaluation.json").write_text(json.dumps({"codes": {"psnr": 12.3456, "names": ["a"]}, "good": True}))
    model = FaceTokenizer.from_pretrained(run / "tokenizer")
    model.push_to_hub("somebody/model", run=run)
    text = (hub.folder / "somebody" / "model" / "README.md").read_text(encoding="utf-8")
    card = ModelCard(text)
    assert card.data.license == "apache-2.0"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert f"Stage `tokenizer` of `gptface train`: {summary['steps']} steps" in text
    for name, value in summary["validation"].items():
        assert f"| {name} | {value:.4g} |" in text
    assert "from `evaluation.json` of the run" in text and "| codes.psnr | 12.35 |" in text and "good" not in text
    assert "no photo of anybody was used" in text and "only with that person's consent" in text
    configuration = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert configuration["tokenizer"]["steps"] == 2 and configuration["data"]["cache_directory"] == "cache"
    for file in (hub.folder / "somebody" / "model").rglob("*"):
        if file.suffix in (".json", ".md"):
            assert "secret" not in file.read_text(encoding="utf-8"), file


def test_figures_too_many_for_a_card_are_named(run: Path, tmp_path: Path) -> None:
    for name in ("summary.json", "config.yaml"):
        shutil.copy(run / name, tmp_path / name)
    (tmp_path / "table.json").write_text(json.dumps({"rows": [{"a": index, "b": index} for index in range(60)]}))
    (tmp_path / "few.json").write_text(json.dumps({"reached": 0.25, "by": {"wish": [1, 2]}, "note": "text"}))
    (tmp_path / "none.json").write_text(json.dumps({"note": "text"}))
    facts = RunFacts.read(tmp_path)
    assert facts.figures == {"few.json": {"reached": 0.25, "by.wish.0": 1.0, "by.wish.1": 2.0}}
    assert facts.unlisted == ("table.json",)
    text = str(model_card(FaceTokenizer.hub_description, "somebody/model", 10, facts))
    assert "`table.json` of the run holds more figures" in text and "| reached | 0.25 |" in text


def test_a_run_on_photos_has_no_licence_unless_somebody_names_one(hub: StandIn, run: Path, tmp_path: Path) -> None:
    for name in ("summary.json", "config.yaml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    told = (run / "config.yaml").read_text().replace("source: procedural", "source: shards")
    (tmp_path / "config.yaml").write_text(told.replace("train: []", "train: [/home/me/photos/train-*.tar]"))
    model = FaceTokenizer.from_pretrained(run / "tokenizer")
    model.push_to_hub("one", run=tmp_path)
    text = (hub.folder / "somebody" / "one" / "README.md").read_text()
    assert ModelCard(text).data.license == "other" and "bound by their terms" in text
    assert "/home/me" not in text and "train-*.tar" in text and "no photo" not in text
    model.push_to_hub("two", run=tmp_path, licence="cc-by-nc-4.0")
    assert ModelCard((hub.folder / "somebody" / "two" / "README.md").read_text()).data.license == "cc-by-nc-4.0"


def test_without_a_run_nothing_is_said_of_training(hub: StandIn) -> None:
    MODELS["FaceParser"]().push_to_hub("model")
    text = (hub.folder / "somebody" / "model" / "README.md").read_text()
    assert "gave no run with it" in text and "None was measured." in text and "Configuration" not in text


def test_options_reach_the_hub(hub: StandIn) -> None:
    MODELS["FaceParser"]().push_to_hub("model", token="hf_t", revision="v2", create_pr=True, commit_message="m")
    assert [name for name, _ in hub.calls] == ["create_repo", "create_branch", "upload_folder"]
    (_, made), (_, branch), (_, sent) = hub.calls
    assert made["private"] is True and made["exist_ok"] is True
    assert branch["branch"] == "v2"
    assert (sent["revision"], sent["create_pr"], sent["commit_message"]) == ("v2", True, "m")
    assert {options["token"] for _, options in hub.calls} == {"hf_t"}


BAD = [("a/b/c", None, "repo_id"), ("x y", None, "repo_id"), ("x", ".", "run")]


@pytest.mark.parametrize(("name", "given", "words"), BAD)
def test_bad_input_is_refused_before_anything_is_sent(
    hub: StandIn, tmp_path: Path, name: str, given: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=rf"^{words}: "):
        MODELS["FaceParser"]().push_to_hub(name, run=None if given is None else tmp_path)
    assert hub.calls == []


@pytest.mark.parametrize("damage", [("summary.json", "{}"), ("summary.json", "["), ("config.yaml", "a: [")])
def test_a_damaged_run_is_one_sentence(run: Path, tmp_path: Path, damage: tuple[str, str]) -> None:
    for name in ("summary.json", "config.yaml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / damage[0]).write_text(damage[1])
    with pytest.raises(InputError, match=r"^run: "):
        RunFacts.read(tmp_path)


def test_gptface_system_is_shared_whole(hub: StandIn, run: Path) -> None:
    system = tiny_system(parser=True)
    system.push_to_hub("somebody/model", run=run)
    folder = hub.folder / "somebody" / "model"
    assert {path.name for path in folder.iterdir()} == {"README.md", "tokenizer", "model", "text_tokenizer", "parser"}
    generator = lines_of(ModelCard.load(folder / "README.md"), folder)["generator"]
    assert all(torch.equal(value, state(generator.system.model)[key]) for key, value in state(system.model).items())


def test_facegpt_system_is_shared_without_its_morphable_model(hub: StandIn) -> None:
    system = small_system()
    system.push_to_hub("somebody/model", "synthetic")
    folder = hub.folder / "somebody" / "model"
    loaded = lines_of(ModelCard.load(folder / "README.md"), folder)["system"]
    assert all(torch.equal(value, state(loaded.model)[key]) for key, value in state(system.model).items())
    system.push_to_hub("somebody/other", "/home/me/licensed/basel.h5")
    other = hub.folder / "somebody" / "other"
    told = [path.read_text(encoding="utf-8") for path in (*other.rglob("*.json"), other / "README.md")]
    assert not any("/home/me" in text for text in told) and any("basel.h5" in text for text in told)


def test_adapter_is_shared_without_its_base(hub: StandIn, tmp_path: Path) -> None:
    owned = base("llama")
    owned.save_pretrained(tmp_path / "mine")
    owned.name_or_path = owned.config._name_or_path = str(tmp_path / "mine")
    adapter = FaceAdapter(owned, tokenizer(), "synthetic", head_size=8)
    push_adapter_to_hub(adapter, "somebody/model")
    folder = hub.folder / "somebody" / "model"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert 'base="mine", morphable="synthetic"' in text
    for file in folder.rglob("*.json"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8"), file
    sent = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    whole = sum(path.stat().st_size for path in (tmp_path / "mine").rglob("*.safetensors"))
    assert sent > 0 and not (folder / "model.safetensors").exists() and whole > 0


def test_only_noted_folders_are_forgotten(tmp_path: Path) -> None:
    content = {"_name_or_path": "/home/me/it", "name": "owner/it", "vocab": {"/": 1}, "parts": [{"source": "/a/b"}]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    forget_folders(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())
    assert found == {"_name_or_path": "it", "name": "owner/it", "vocab": {"/": 1}, "parts": [{"source": "b"}]}


def test_of_paths_the_last_part_is_left() -> None:
    told = {"a": ["/x/y/train-*.tar", "z"], "b": {"c": "runs/k/", "d": 1, "e": None}}
    assert without_folders(told) == {"a": ["train-*.tar", "z"], "b": {"c": "k", "d": 1, "e": None}}
