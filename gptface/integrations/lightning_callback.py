"""Throughput and MFU among what Lightning logs.

::

    Trainer(..., callbacks=[GPTFaceCallback()])

Every ``log_every_n_steps`` optimiser steps ``samples_per_second``, ``tokens_per_second`` and ``mfu`` are logged, where
they are known, as the module's own ``self.log`` would do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gptface.integrations.device_peaks import peak_flops_of, precision_of_products
from gptface.integrations.throughput import Meter, Notes, flops_of_token, rates

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise ImportError("gptface.integrations.lightning_callback needs Lightning: pip install lightning") from None

__all__ = ["GPTFaceCallback"]


class GPTFaceCallback(Callback):
    """Logs samples and tokens a second, and the share of the device's peak that the model's operations make (MFU).

    Measured is the wall time of training batches, waits for data included; not the first ``warmup_steps`` optimiser
    steps of a ``fit``, not validation, and not the writing of checkpoints, with the wait for the batch that follows.

    Args:
        warmup_steps: optimiser steps at the beginning that are not measured.
        flops_per_sample: floating-point operations of a training step, forward and backward, a sample. Without it they
            are the module's ``flops_per_batch``, as for Lightning's ``ThroughputMonitor``, else six a parameter outside
            embeddings and token, where the module holds one model of ``transformers`` over ``input_ids``.
        peak_tflops: what a device reaches at most, in TFLOP/s; by default that of the data sheet, where the device is
            in :mod:`gptface.integrations.device_peaks`.
        samples: the number of samples of a batch; by default the length of the first tensor in it.
        tokens: the number of tokens of a batch; by default the elements of its ``input_ids``, where it has them.

    What cannot be logged is told once as a warning, and why.
    """

    def __init__(
        self,
        warmup_steps: int = 3,
        *,
        flops_per_sample: float | None = None,
        peak_tflops: float | None = None,
        samples: Callable[[Any], int] | None = None,
        tokens: Callable[[Any], int] | None = None,
    ) -> None:
        super().__init__()
        self._meter = Meter(warmup_steps)
        self._notes = Notes()
        self.flops_per_sample = flops_per_sample
        self.peak_tflops = peak_tflops
        self._samples = samples or _samples_in
        self._count_tokens = tokens or _tokens_in

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._notes.quiet = not trainer.is_global_zero
        self._meter.restart(trainer.strategy.root_device)
        self._optimizer_steps = trainer.global_step
        self._peak = self._peak_of(trainer, pl_module)
        found = [count for part in pl_module.modules() if (count := flops_of_token(part)) is not None]
        self._token_flops = max(found, default=None)  # a model's inner models are parts of it
        self._clear()

    def _clear(self) -> None:
        """Tokens and operations of this process since the last reading; ``None`` from a batch on that has none."""
        self._tokens: float | None = 0.0
        self._flops: float | None = 0.0

    def _peak_of(self, trainer: Any, pl_module: Any) -> float | None:
        """Operations a second of all devices."""
        if self.peak_tflops is not None:
            return self.peak_tflops * 1e12 * trainer.world_size
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        lowered = {"bf16": "bf16", "16": "fp16", "transformer": "fp8"}.get(precision.split("-")[0])
        weights = next((value.dtype for value in pl_module.parameters()), torch.float32)
        peak, reason = peak_flops_of(device, precision_of_products(device, lowered, weights))
        if peak is None:
            self._notes.say(f"no mfu is logged, for {reason}; give peak_tflops=")
            return None
        return peak * trainer.world_size

    # What is no training ---------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._meter.pause()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._meter.steps:  # not the check before training
            self._meter.resume()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._meter.pause()  # nobody tells when it is written; the next batch goes on

    # Training --------------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._meter.begin()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        samples, tokens = self._samples(batch), self._count_tokens(batch)
        if samples is None:
            self._notes.say(f"nothing is logged, for a batch ({type(batch).__name__}) holds no tensor; give samples=")
            return
        self._meter.add(samples)
        self._tokens = None if tokens is None or self._tokens is None else self._tokens + tokens
        flops = self._flops_of(pl_module, samples, tokens)
        self._flops = None if flops is None or self._flops is None else self._flops + flops
        if trainer.global_step == self._optimizer_steps:  # gradients are still gathered
            return
        self._optimizer_steps = trainer.global_step
        self._meter.step()
        if trainer._logger_connector.should_update_logs:
            self._log(trainer, pl_module)

    def _flops_of(self, pl_module: Any, samples: int, tokens: int | None) -> float | None:
        """Operations of a batch on this process."""
        if self.flops_per_sample is not None:
            return self.flops_per_sample * samples
        if (flops := getattr(pl_module, "flops_per_batch", None)) is not None:
            return float(flops)
        if self._token_flops is not None and tokens is not None:
            return float(self._token_flops * tokens)
        if self._peak is not None:
            self._notes.say("no mfu is logged, for the model's operations are not known; give flops_per_sample=")
        return None

    def _log(self, trainer: Any, pl_module: Any) -> None:
        reading = self._meter.read()
        if reading is None:  # warm-up
            return
        tokens, flops, processes = self._tokens, self._flops, trainer.world_size
        self._clear()
        sampler = getattr(trainer, "distributed_sampler_kwargs", None) or {}
        if sampler.get("num_replicas", processes) != processes:
            self._notes.say("model parallelism is not counted, so nothing is logged")
            return
        all_tokens = None if tokens is None else tokens * processes
        all_flops = None if flops is None else flops * processes
        values = rates(reading, processes, all_tokens, all_flops, self._peak)
        pl_module.log_dict(values, on_step=True, on_epoch=False)


def _samples_in(batch: Any) -> int | None:
    """The length of the first tensor in a batch."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, Sequence) else ()
    if isinstance(batch, str):
        return None
    return next((count for part in parts if (count := _samples_in(part)) is not None), None)


def _tokens_in(batch: Any) -> int | None:
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    return ids.numel() if isinstance(ids, Tensor) else None
