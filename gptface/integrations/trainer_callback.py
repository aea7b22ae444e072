"""Throughput and MFU in the logs of ``transformers.Trainer``.

::

    Trainer(model, arguments, train_dataset=..., callbacks=[GPTFaceCallback()])

Every record of training that is logged then also has ``samples_per_second``, ``tokens_per_second`` and ``mfu``, where
they are known: on the screen, in TensorBoard and every other logger of ``report_to``, in ``state.log_history``.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import torch
from transformers import DefaultFlowCallback, TrainerCallback
from transformers.trainer_callback import CallbackHandler

from gptface.integrations.device_peaks import peak_flops_of, precision_of_products
from gptface.integrations.throughput import Meter, Notes, Reading, flops_of_token, rates

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["GPTFaceCallback"]

_LEVELS_UP = 8  # frames between an event of a callback and the handler that calls it: one, more where it is wrapped


class GPTFaceCallback(TrainerCallback):
    """Logs samples and tokens a second, and the share of the device's peak that the model's operations make (MFU).

    Measured is the wall time of training steps, waits for data included; not the first ``warmup_steps`` of a call of
    ``train``, and not evaluation and saving. A record of a window that holds warm-up steps tells of its other steps,
    their tokens and operations taken to be as many a sample.

    - ``samples_per_second``: of all processes. The last, smaller batch of an epoch is known for what it is in one
      process with a data set that has a length; else it counts as a whole one.
    - ``tokens_per_second``: ``state.num_input_tokens_seen`` where ``include_num_input_tokens_seen`` counts them, else
      those that ``state.total_flos`` stands for, padding included. Models over ``input_ids`` only.
    - ``mfu``: operations are ``flops_per_sample``, or ``state.total_flos``: six a parameter outside embeddings and
      token, as ``Trainer`` counts them, without attention's own products. For models over anything but ``input_ids``
      that count is of pixels, not tokens, and is not used.

    Args:
        warmup_steps: steps at the beginning that are not measured.
        flops_per_sample: floating-point operations of a training step, forward and backward, a sample.
        peak_tflops: what a device reaches at most, in TFLOP/s; by default that of the data sheet, where the device is
            in :mod:`gptface.integrations.device_peaks`.

    What cannot be logged is told once as a warning, and why.
    """

    def __init__(
        self, warmup_steps: int = 3, *, flops_per_sample: float | None = None, peak_tflops: float | None = None
    ) -> None:
        self._meter = Meter(warmup_steps)
        self._notes = Notes()
        self.flops_per_sample = flops_per_sample
        self.peak_tflops = peak_tflops

    # Where it stands -------------------------------------------------------------------------------------------------

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._go_first()

    def _go_first(self) -> bool:
        """Take the place before all loggers, so that what is put into a record is there when they read it.

        A callback comes after the loggers of ``report_to`` in the list of its handler, and is handed the record after
        they had it. No event hands over the handler; the one that calls stands in a frame above this one.
        """
        frame = inspect.currentframe()
        for _ in range(_LEVELS_UP):
            frame = frame.f_back if frame is not None else None
            handler = frame.f_locals.get("self") if frame is not None else None
            if isinstance(handler, CallbackHandler) and any(one is self for one in handler.callbacks):
                # After what decides on evaluation and saving, whose decisions are looked at. Whoever is going through
                # the list meets everybody else once: those before move up into the place that becomes free.
                others = [one for one in handler.callbacks if one is not self]
                deciding = [at for at, one in enumerate(others) if isinstance(one, DefaultFlowCallback)]
                others.insert(deciding[-1] + 1 if deciding else 0, self)
                handler.callbacks[:] = others
                return True
        return False

    # The watch -------------------------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._notes.quiet = not state.is_world_process_zero
        if not self._go_first():
            self._notes.say(
                "loggers before it in the list of callbacks get no throughput; put it first by "
                "trainer.callback_handler.callbacks.insert(0, callback)"
            )
        model: Any = kwargs.get("model")
        self._meter.restart(args.device)
        self._flos, self._tokens = state.total_flos, state.num_input_tokens_seen
        found = state.train_batch_size if args.auto_find_batch_size else None  # a checkpoint's may be another one
        self._batch = found or args.train_batch_size
        self._missing = _missing_samples(kwargs.get("train_dataloader"), self._batch, args.world_size)
        self._parallel = _data_parallel(args, model)
        self._peak = self._peak_of(args, model)
        self._token_flos = flops_of_token(model)

    def _peak_of(self, args: TrainingArguments, model: Any) -> float | None:
        """Operations a second of all devices."""
        devices = args.world_size * max(1, args.n_gpu)
        if self.peak_tflops is not None:
            return self.peak_tflops * 1e12 * devices
        autocast = "bf16" if args.bf16 else "fp16" if args.fp16 else None
        weights = next((value.dtype for value in model.parameters()), torch.float32)
        peak, reason = peak_flops_of(args.device, precision_of_products(args.device, autocast, weights))
        if peak is None:
            self._notes.say(f"no mfu is logged, for {reason}; give peak_tflops=")
            return None
        return peak * devices

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._meter.begin()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._meter.add(self._batch)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        epoch_ends = float(state.epoch or 0).is_integer()
        self._meter.add(self._batch - (self._missing if epoch_ends else 0))
        self._meter.step()
        self._pause_before_other_work(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._pause_before_other_work(control)

    def _pause_before_other_work(self, control: TrainerControl) -> None:
        if control.should_evaluate or control.should_save:
            self._meter.pause()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._meter.resume()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._meter.resume()

    # The record ------------------------------------------------------------------------------------------------------

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, Any] | None = kwargs.get("logs")
        if logs is None or "loss" not in logs:  # an evaluation's, or the summary at the end
            return
        flos, tokens = state.total_flos - self._flos, state.num_input_tokens_seen - self._tokens
        reading = self._meter.read()
        if reading is None:  # warm-up; its tokens and operations stay in the window that the next reading ends
            return
        self._flos, self._tokens = state.total_flos, state.num_input_tokens_seen
        if self._parallel is None:
            self._notes.say("tensor, context and sequence parallelism are not counted, so nothing is logged")
            return
        counted = args.include_num_input_tokens_seen not in ("no", False)
        known = float(tokens) if counted else self._tokens_in(flos, state.total_flos)
        values = rates(reading, self._parallel, known, self._flops(reading, flos), self._peak)
        logs.update(values)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(values)

    def _tokens_in(self, flos: float, total: float) -> float | None:
        """Tokens that ``Trainer`` counted ``flos`` for; ``None`` where that is not its own count."""
        if self._token_flos is None:
            return None
        tokens = flos / self._token_flos
        rounding = 8 * sys.float_info.epsilon * total / self._token_flos
        if tokens and abs(tokens - round(tokens)) <= max(rounding, 1e-6):
            return float(round(tokens))
        self._notes.say(
            "no tokens_per_second are logged, for this trainer counts operations in a way of its own; set "
            "include_num_input_tokens_seen in TrainingArguments"
        )
        return None

    def _flops(self, reading: Reading, flos: float) -> float | None:
        """Operations since the last reading, of all processes, warm-up included."""
        if self.flops_per_sample is not None:
            assert self._parallel is not None
            return self.flops_per_sample * self._parallel * reading.samples / reading.share
        if self._token_flos is not None and flos:
            return flos
        if self._peak is not None:
            self._notes.say(
                "no mfu is logged, for the operations of a model over anything but input_ids are not known; give "
                "flops_per_sample="
            )
        return None


def _missing_samples(loader: Any, batch: int, processes: int) -> int:
    """By how many samples the last batch of an epoch is smaller; 0 where that is not known."""
    try:
        missing = len(loader) * batch - len(loader.dataset)
    except (TypeError, AttributeError):
        return 0
    return missing if processes == 1 and 0 < missing < batch else 0


def _data_parallel(args: TrainingArguments, model: Any) -> int | None:
    """Processes with data of their own; ``None`` where some share theirs."""
    layout = getattr(args, "parallelism_config", None)
    shared = layout.non_data_parallel_size if layout is not None else getattr(model, "_tp_size", None) or 1
    return args.world_size if shared == 1 else None

