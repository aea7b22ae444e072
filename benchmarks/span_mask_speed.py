"""The speed of span masks beside re-implemented peers: batches of 256 on one thread, in CPU time, in turns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, hugging_face_spans, ijepa_targets, t5_spans
from benchmarks.span_mask_checks import JOINT, LENGTH
from gptface.ops import Fixed, ImageBlocks, Multimodal, TextSpans, mask_tokens, sample_span_mask

__all__ = ["SPEED_ROWS", "measure_speed"]

SPEED_ROWS = 7


def measure_speed(repeats: int, advance: Callable[[int], None]) -> list[dict[str, Any]]:
    """Milliseconds of CPU time (20 %, 50 %, 80 % quantiles) of ours and of a peer, ``SPEED_ROWS`` pairs."""
    batch, rng, python = 256, np.random.default_rng(0), random.Random(0)
    ids, grid = torch.arange(batch), (16, 16)
    lengths, joint = torch.full((batch,), LENGTH), torch.from_numpy(JOINT).repeat(batch, 1)
    tokens = torch.randint(5, 1000, (batch, LENGTH))
    tens, blocks = TextSpans(0.5, Fixed(10), min_gap=0), ImageBlocks(grid, 0.4, minimum=16)
    targets = ImageBlocks(grid, 0.45, (0.75, 1.5), minimum=38, maximum=51)
    both = Multimodal(TextSpans(0.15), ImageBlocks(grid, 0.4))
    spans, key = TextSpans(0.15), {"seed": 0, "step": 0, "sample_ids": ids}
    corruption: dict[str, Any] = {"mask_id": 1, "vocabulary_ranges": [(5, 1000)]}
    pairs: list[tuple[str, Callable[[], Any], str, Callable[[], Any] | None]] = [
        ("text, tens, ratio 0.5", lambda: sample_span_mask(tens, lengths, **key),
         "fairseq", lambda: fairseq_spans(batch, LENGTH, 0.5, 10, rng)),
        ("text, tens, ratio 0.5", lambda: sample_span_mask(tens, lengths, **key),
         "Hugging Face", lambda: hugging_face_spans(batch, LENGTH, 0.5, 10, rng)),
        ("text, geometric, ratio 0.15", lambda: sample_span_mask(spans, lengths, **key),
         "T5", lambda: t5_spans(batch, LENGTH, 0.15, 3.0, rng)),
        ("image 16 × 16, blocks, ratio 0.4", lambda: sample_span_mask(blocks, **key),
         "BEiT", lambda: beit_blocks(batch, grid, 102, python)),
        ("image 16 × 16, large blocks, ratio 0.45", lambda: sample_span_mask(targets, **key),
         "I-JEPA", lambda: ijepa_targets(batch, grid, python)),
        ("joint, 334 positions", lambda: sample_span_mask(both, joint, **key), "", None),
        ("joint, mask_tokens", lambda: mask_tokens(tokens, both, joint, **corruption, **key), "", None),
    ]  # fmt: skip
    assert len(pairs) == SPEED_ROWS
    rows = []
    for ours, function, peer, other in pairs:
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for turn in range(repeats + 2):
            for name, call in (("ours", function), ("peer", other)):
                if call is None:
                    continue
                begin = time.thread_time()
                for _ in range(10 if name == "ours" else 1):
                    call()
                if turn >= 2:  # the first two warm up
                    times[name].append((time.thread_time() - begin) * 1e3 / (10 if name == "ours" else 1))
        row: dict[str, Any] = {"ours": ours, "peer": peer or None}
        for name, values in times.items():
            row[f"{name}_ms"] = [float(q) for q in np.quantile(values, [0.2, 0.5, 0.8])] if values else None
        rows.append(row)
        advance(1)
    return rows
