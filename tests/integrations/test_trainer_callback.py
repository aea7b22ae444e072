"""Throughput and MFU in the logs of ``transformers.Trainer``: every number from a clock that the test winds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from gptface.errors import InputError
from gptface.integrations import GPTFaceCallback, throughput
from gptface.integrations.throughput import Meter

TOKENS, BATCH = 6, 4
STEP, WAIT, COMPILATION, EVALUATION, SAVING = 1.0, 0.5, 64.0, 256.0, 1024.0  # seconds


class Clock:
    """Seconds that pass only where something is said to take them."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


class SlowLlama(LlamaForCausalLM):
    """Takes long the first time, then ``STEP`` a pass, and long in evaluation."""

    clock: Clock
    passes = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            self.passes += 1
            self.clock.pass_(COMPILATION if self.passes == 1 else STEP)
        else:
            self.clock.pass_(EVALUATION)
        return super().forward(*args, **kwargs)


class SlowTrainer(Trainer):
    clock: Clock

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.clock.pass_(SAVING)
        super()._save_checkpoint(*args, **kwargs)


class Logger(TrainerCallback):
    """A logger that stands before the callback, as those of ``report_to`` do."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.records.append({**kwargs["logs"], "step": state.global_step})


def llama(clock: Clock) -> SlowLlama:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=8, attn_implementation="eager",
    )  # fmt: skip
    model = SlowLlama(config)
    model.clock = clock
    return model


def words(count: int) -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(16, (count, TOKENS), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in ids]


def trained(
    clock: Clock, folder: Path, callback: TrainerCallback, model: Any = None, data: Any = None, **options: Any
) -> tuple[Trainer, list[dict[str, Any]]]:
    """A training of 9 steps with a record every third; the trainer and the records of training.

    A batch is fetched before the one ahead of it is used, so there is one more than is needed.
    """

    def collate(features: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        clock.pass_(WAIT)
        return {name: torch.stack([feature[name] for feature in features]) for name in features[0]}

    later = options.pop("callbacks", [])
    defaults: dict[str, Any] = {"max_steps": 9, "logging_steps": 3, "save_strategy": "no", "report_to": []}
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=BATCH, per_device_eval_batch_size=2 * BATCH, use_cpu=True,
        disable_tqdm=True, remove_unused_columns=False, **{**defaults, **options},
    )  # fmt: skip
    logger = Logger()
    trainer = SlowTrainer(
        model if model is not None else llama(clock), arguments, data_collator=collate,
        train_dataset=data or words(10 * BATCH), eval_dataset=words(2 * BATCH), callbacks=[logger, callback, *later],
    )  # fmt: skip
    trainer.clock = clock
    trainer.train()
    return trainer, [record for record in logger.records if "loss" in record]


@pytest.fixture(autouse=True)
def no_other_warning() -> Iterator[None]:
    """A warning that a test does not expect is an error, where it is the callback's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="GPTFaceCallback")
        yield


def test_samples_tokens_and_operations_a_second_reach_a_logger_that_comes_first(clock: Clock, tmp_path: Path) -> None:
    trainer, records = trained(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1e-6))
    assert trainer.model is not None
    parameters = trainer.model.num_parameters(exclude_embeddings=True)
    samples = BATCH / (STEP + WAIT)
    for record in records:  # the first holds the warm-up, which took long
        assert record["samples_per_second"] == pytest.approx(samples, abs=1e-3)
        assert record["tokens_per_second"] == pytest.approx(samples * TOKENS, abs=1e-3)
        assert record["mfu"] == pytest.approx(6 * parameters * samples * TOKENS / 1e6, rel=1e-3)
    assert [record["step"] for record in records] == [3, 6, 9]


def test_evaluation_and_saving_are_left_out(clock: Clock, tmp_path: Path) -> None:
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 3}
    _, records = trained(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1.0), **options)
    assert [record["samples_per_second"] for record in records] == [pytest.approx(BATCH / 1.5, abs=1e-3)] * 3


def test_evaluation_and_saving_at_the_end_of_epochs_are_left_out(clock: Clock, tmp_path: Path) -> None:
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "max_steps": -1, "num_train_epochs": 3}
    data = words(3 * BATCH)
    _, records = trained(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1.0), data=data, **options)
    # The first batches were fetched in the warm-up.
    assert [record["samples_per_second"] for record in records[1:]] == [pytest.approx(BATCH / 1.5, abs=1e-3)] * 2


def test_saving_that_a_later_callback_asks_for_is_left_out(clock: Clock, tmp_path: Path) -> None:
    class Asking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save = state.global_step == 5

    callback = GPTFaceCallback(1, peak_tflops=1.0)
    _, records = trained(clock, tmp_path, callback, callbacks=[Asking()])
    assert (tmp_path / "checkpoint-5").is_dir()
    assert [record["samples_per_second"] for record in records] == [pytest.approx(BATCH / 1.5, abs=1e-3)] * 3


def test_a_warm_up_longer_than_the_first_window(clock: Clock, tmp_path: Path) -> None:
    _, records = trained(clock, tmp_path, GPTFaceCallback(4, peak_tflops=1e-6))
    assert "samples_per_second" not in records[0]
    for record in records[1:]:  # tokens of the window are those of the steps that were measured
        assert record["samples_per_second"] == pytest.approx(BATCH / 1.5, abs=1e-3)
        assert record["tokens_per_second"] == pytest.approx(BATCH * TOKENS / 1.5, abs=1e-3)


def test_passes_are_counted_where_gradients_accumulate(clock: Clock, tmp_path: Path) -> None:
    data = words(10 * BATCH * 2)
    callback = GPTFaceCallback(1, peak_tflops=1.0)
    _, records = trained(clock, tmp_path, callback, data=data, gradient_accumulation_steps=2)
    assert records[-1]["samples_per_second"] == pytest.approx(2 * BATCH / (2 * STEP + 2 * WAIT), abs=1e-3)
    assert records[-1]["tokens_per_second"] == pytest.approx(2 * BATCH * TOKENS / (2 * STEP + 2 * WAIT), abs=1e-3)


def test_a_smaller_last_batch_is_counted_as_what_it_is(clock: Clock, tmp_path: Path) -> None:
    data = words(2 * BATCH + 1)
    callback = GPTFaceCallback(1, peak_tflops=1.0)
    _, records = trained(clock, tmp_path, callback, data=data, max_steps=-1, num_train_epochs=3)
    for record in records[1:]:
        assert record["samples_per_second"] == pytest.approx((2 * BATCH + 1) / 4.5, abs=1e-3)
        assert record["tokens_per_second"] == pytest.approx((2 * BATCH + 1) * TOKENS / 4.5, abs=1e-3)


def test_counted_tokens_are_taken_where_the_trainer_counts_them(clock: Clock, tmp_path: Path) -> None:
    data = [{**entry, "attention_mask": torch.tensor([1] * 4 + [0] * 2)} for entry in words(10 * BATCH)]
    callback = GPTFaceCallback(1, peak_tflops=1.0)
    _, records = trained(clock, tmp_path, callback, data=data, include_num_input_tokens_seen="non_padding")
    assert records[-1]["tokens_per_second"] == pytest.approx(BATCH * 4 / 1.5, abs=1e-3)


def test_records_on_disk_and_in_tensorboard_have_them(clock: Clock, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = tmp_path / "logs"
    options = {"report_to": ["tensorboard"], "save_strategy": "steps", "save_steps": 9}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TENSORBOARD_LOGGING_DIR", str(logs))
        trainer, _ = trained(clock, tmp_path / "run", GPTFaceCallback(1, peak_tflops=1.0), **options)
    saved = json.loads((tmp_path / "run" / "checkpoint-9" / "trainer_state.json").read_text())["log_history"]
    for history in (trainer.state.log_history[:3], saved[:3]):
        assert [record["samples_per_second"] for record in history] == [pytest.approx(BATCH / 1.5, abs=1e-3)] * 3
    events = EventAccumulator(str(logs)).Reload()
    for name in ("samples_per_second", "tokens_per_second", "mfu"):
        assert [event.step for event in events.Scalars(f"train/{name}")] == [3, 6, 9], name


def test_resumed_training_begins_anew(clock: Clock, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 6}
    trained(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1.0), **options)
    callback = GPTFaceCallback(1, peak_tflops=1.0)
    trainer, _ = trained(clock, tmp_path / "other", callback, max_steps=3)
    trainer.args.max_steps = 9
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    record = trainer.state.log_history[-2]
    assert record["step"] == 9
    assert record["samples_per_second"] == pytest.approx(BATCH / 1.5, abs=1e-3)
    assert record["tokens_per_second"] == pytest.approx(BATCH * TOKENS / 1.5, abs=1e-3)


def test_a_processor_has_no_known_peak_which_is_said_once(clock: Clock, tmp_path: Path) -> None:
    callback = GPTFaceCallback(1)
    with pytest.warns(UserWarning, match="no mfu is logged, for the peak of a device of type 'cpu'") as told:
        trainer, records = trained(clock, tmp_path, callback)
        trainer.train()
    assert len([one for one in told if "GPTFaceCallback" in str(one.message)]) == 1
    assert all("mfu" not in record and "tokens_per_second" in record for record in records)


class Pictures(nn.Module):
    main_input_name = "pixel_values"

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.linear = nn.Linear(12, 1)

    def num_parameters(self, exclude_embeddings: bool = False) -> int:
        return 13

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.clock.pass_(STEP)
        return {"loss": (self.linear(pixel_values.flatten(1))[:, 0] - labels).square().mean()}


def pictures() -> list[dict[str, torch.Tensor]]:
    return [{"pixel_values": torch.rand(3, 2, 2), "labels": torch.tensor(float(index))} for index in range(10 * BATCH)]


def test_pixels_are_no_tokens(clock: Clock, tmp_path: Path) -> None:
    """``Trainer`` counts six operations a parameter and *pixel* of a vision model, some hundred times too many."""
    with pytest.warns(UserWarning, match="anything but input_ids are not known; give flops_per_sample="):
        callback = GPTFaceCallback(1, peak_tflops=1e-6)
        trainer, records = trained(clock, tmp_path, callback, Pictures(clock), pictures())
    assert trainer.state.total_flos > 0
    assert all({"mfu", "tokens_per_second"}.isdisjoint(record) for record in records)
    callback = GPTFaceCallback(1, peak_tflops=1e-6, flops_per_sample=3e4)
    _, records = trained(clock, tmp_path, callback, Pictures(clock), pictures())
    for record in records:
        assert record["mfu"] == pytest.approx(3e4 * BATCH / 1.5 / 1e6, rel=1e-3)


def test_a_trainer_that_counts_operations_in_its_own_way_gives_no_tokens(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowTrainer, "floating_point_ops", lambda self, inputs: 12345.0)
    with pytest.warns(UserWarning, match="set include_num_input_tokens_seen in TrainingArguments"):
        _, records = trained(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1e-6))
    assert all("tokens_per_second" not in record for record in records)
    assert records[-1]["mfu"] == pytest.approx(12345.0 / 1.5 / 1e6, rel=1e-3)


def test_it_takes_its_place_when_it_is_added_later(clock: Clock, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_steps": 2, "logging_steps": 1, "report_to": [], "remove_unused_columns": False}
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True, **options)
    logger, callback = Logger(), GPTFaceCallback(0, peak_tflops=1.0)
    trainer = Trainer(llama(clock), arguments, train_dataset=words(4), callbacks=[logger])
    before = list(trainer.callback_handler.callbacks)
    trainer.add_callback(callback)
    trainer.train()
    after = trainer.callback_handler.callbacks
    assert after.index(callback) < after.index(logger)
    assert [one for one in after if one is not callback] == before
    assert all("samples_per_second" in record for record in logger.records if "loss" in record)


def test_without_a_place_before_the_loggers_it_says_how_to_get_one(clock: Clock, tmp_path: Path) -> None:
    callback = GPTFaceCallback(1, peak_tflops=1.0)
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    state = SimpleNamespace(is_world_process_zero=True, total_flos=0, num_input_tokens_seen=0, train_batch_size=1)
    with pytest.warns(UserWarning, match="callback_handler.callbacks.insert"):
        callback.on_train_begin(arguments, state, None, model=llama(clock))  # type: ignore[arg-type]


def test_warm_up_must_be_a_number_of_steps() -> None:
    with pytest.raises(InputError, match="warmup_steps: -1; it must be at least 0"):
        GPTFaceCallback(-1)


def test_a_reading_without_a_step_is_none(clock: Clock) -> None:
    meter = Meter(0)
    assert meter.read() is None
    meter.begin()
    clock.pass_(2.0)
    meter.add(4)
    meter.step()
    meter.pause()
    clock.pass_(100.0)
    reading = meter.read()
    assert reading is not None
    assert (reading.seconds, reading.samples, reading.share) == (2.0, 4, 1.0)
    assert meter.read() is None
