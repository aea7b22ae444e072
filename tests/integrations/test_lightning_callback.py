"""Throughput and MFU under Lightning: every number from a clock that the test winds."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from gptface.integrations import throughput

pytest.importorskip("lightning", reason="Lightning is not installed: pip install lightning")

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from gptface.integrations.lightning_callback import GPTFaceCallback

BATCH, TOKENS = 4, 6
STEP, WAIT, COMPILATION, VALIDATION, SAVING = 1.0, 0.5, 64.0, 256.0, 1024.0  # seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


class Learner(LightningModule):
    def __init__(self, clock: Any, model: nn.Module) -> None:
        super().__init__()
        self.clock, self.model, self.passes = clock, model, 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.passes += 1
        self.clock.now += COMPILATION if self.passes == 1 else STEP
        if isinstance(batch, dict):
            return self.model(**batch).loss
        return self.model(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.clock.now += VALIDATION

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clock.now += SAVING

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


class Loader:
    """Batches that take their time."""

    def __init__(self, clock: Any, batches: list[Any]) -> None:
        self.clock, self.batches = clock, batches

    def __iter__(self) -> Any:
        for batch in self.batches:
            self.clock.now += WAIT
            yield batch


def rows(count: int = 12) -> list[Any]:
    return [(torch.rand(BATCH, 3),) for _ in range(count)]


def logged(
    clock: Any, folder: Path, callback: Any, model: nn.Module, batches: list[Any], **options: Any
) -> list[dict[str, str]]:
    """A training of 9 steps with a record every third; the records, as a CSV file has them."""
    logger = CSVLogger(folder, flush_logs_every_n_steps=1)
    defaults: dict[str, Any] = {"max_steps": 9, "log_every_n_steps": 3, "enable_checkpointing": False}
    trainer = Trainer(
        accelerator="cpu", logger=logger, callbacks=[*options.pop("callbacks", []), callback],
        enable_progress_bar=False, enable_model_summary=False, **{**defaults, **options},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        trainer.fit(Learner(clock, model), Loader(clock, batches), Loader(clock, rows(2)))
    lines = [line.split(",") for line in (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_samples_a_second_without_warm_up_validation_and_saving(
    clock: SimpleNamespace, tmp_path: Path, accumulate: int
) -> None:
    saving = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=2, save_top_k=-1)
    options: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [saving], "num_sanity_val_steps": 1}
    records = logged(
        clock, tmp_path, GPTFaceCallback(1, peak_tflops=1e-6, flops_per_sample=3e4), nn.Linear(3, 1),
        rows(24), val_check_interval=4, accumulate_grad_batches=accumulate, **options,
    )  # fmt: skip
    assert len(list((tmp_path / "saved").iterdir())) >= 4
    assert [int(record["step"]) for record in records] == [2, 5, 8]
    for record in records:
        # A batch is fetched ahead; after a checkpoint or a validation the wait for the next one is not counted.
        rate = float(record["samples_per_second"])
        assert BATCH / (STEP + WAIT) <= rate <= BATCH / STEP
        assert float(record["mfu"]) == pytest.approx(3e4 * rate / 1e6, rel=1e-3)
        assert "tokens_per_second" not in record


def test_tokens_and_operations_of_a_language_model(clock: SimpleNamespace, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=8, attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = torch.randint(16, (12, BATCH, TOKENS))
    batches = [{"input_ids": row, "labels": row} for row in ids]
    records = logged(clock, tmp_path, GPTFaceCallback(1, peak_tflops=1e-6), model, batches)
    for record in records:
        assert float(record["samples_per_second"]) == pytest.approx(BATCH / 1.5, abs=1e-3)
        assert float(record["tokens_per_second"]) == pytest.approx(BATCH * TOKENS / 1.5, abs=1e-3)
        operations = 6 * model.num_parameters(exclude_embeddings=True) * BATCH * TOKENS
        assert float(record["mfu"]) == pytest.approx(operations / 1.5 / 1e6, rel=1e-3)


def test_operations_that_the_module_tells(clock: SimpleNamespace, tmp_path: Path) -> None:
    callback = GPTFaceCallback(1, peak_tflops=1e-6, tokens=lambda batch: 2 * len(batch[0]))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Learner, "flops_per_batch", 1e5, raising=False)
        records = logged(clock, tmp_path, callback, nn.Linear(3, 1), rows())
    assert float(records[-1]["mfu"]) == pytest.approx(1e5 / 1.5 / 1e6, rel=1e-3)
    assert float(records[-1]["tokens_per_second"]) == pytest.approx(2 * BATCH / 1.5, abs=1e-3)


def test_what_is_not_known_is_told_once(clock: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="operations are not known; give flops_per_sample=") as told:
        logged(clock, tmp_path / "first", GPTFaceCallback(1, peak_tflops=1.0), nn.Linear(3, 1), rows())
    assert len([one for one in told if "GPTFaceCallback" in str(one.message)]) == 1
    with pytest.warns(UserWarning, match="no mfu is logged, for the peak of a device of type 'cpu'"):
        records = logged(clock, tmp_path / "second", GPTFaceCallback(1), nn.Linear(3, 1), rows())
    assert all("mfu" not in record for record in records)
