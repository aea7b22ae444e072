"""The evidence on span masks: statistics that reject what is wrong, peers that do what is said of them, the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, ijepa_targets, t5_spans
from benchmarks.span_mask_evidence import main
from benchmarks.span_mask_statistics import Marginals, SpanLengths, expected_span_lengths
from gptface.ops import Fixed, Geometric, Uniform


def test_the_peers_do_what_is_said_of_them() -> None:
    rng, python = np.random.default_rng(0), random.Random(0)
    t5 = t5_spans(64, 100, 0.15, 3.0, rng)
    assert (t5.sum(1) == 15).all() and not t5[:, 0].any() and t5[:, -1].all()
    fairseq = fairseq_spans(64, 200, 0.5, 10, rng)
    assert len(set(fairseq.sum(1).tolist())) == 1 and fairseq.mean() < 0.45
    beit = beit_blocks(64, (14, 14), 75, python)
    assert beit.shape == (64, 14, 14) and beit.sum((1, 2)).max() <= 75 and beit[:, 0, 0].mean() < 0.3
    targets, contexts = ijepa_targets(64, (14, 14), python)
    assert targets.shape[:2] == (64, 4) and contexts.shape[0] == 64
    assert (targets // 14).max() < 13 and (targets % 14).max() < 13
    for sample, context in zip(targets, contexts, strict=True):
        assert not np.isin(context, sample).any()


@pytest.mark.parametrize("law", [Geometric(), Uniform(2, 6), Fixed(4)])
@pytest.mark.parametrize("budget", [1, 7, 30])
def test_expected_lengths_spend_the_budget(law: Geometric | Uniform | Fixed, budget: int) -> None:
    expected = expected_span_lengths(law.law(), budget)
    assert float(expected @ np.arange(len(expected))) == pytest.approx(budget)


def test_span_lengths_are_counted_around_the_end() -> None:
    found = SpanLengths(4)
    found.add(np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 0, 0]], bool))
    assert found.sums.tolist() == [0, 2, 2, 1, 0]


def test_the_statistics_reject_a_sampler_that_neglects_the_border() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 28, 5000)
    uneven, even = Marginals(), Marginals()
    uneven.add((np.arange(30) >= starts[:, None]) & (np.arange(30) < starts[:, None] + 3), 3)
    even.add((np.arange(30) - rng.integers(0, 30, 5000)[:, None]) % 30 < 3, 3)
    assert uneven.exact == even.exact == 5000
    assert uneven.p_all_positions() < 1e-6 and uneven.p_one_position() < 1e-6
    assert even.p_all_positions() > 1e-3 and even.p_one_position() > 1e-3


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    output = tmp_path / "span-masks"
    main([f"--output={output}", "--samples=600", "--peer-samples=32", "--specifications=5", "--repeats=1"])
    numbers = json.loads((output / "numbers.json").read_text())
    assert all(row["exact"] in (None, row["samples"]) for row in numbers["marginals"])
    assert numbers["varied"]["exact"] == numbers["varied"]["samples"]
    page = output.with_suffix(".md").read_text()
    for picture in ("marginals-sequence", "marginals-grid", "span-lengths"):
        assert f"span-masks/{picture}.png" in page and (output / f"{picture}.png").stat().st_size > 1000
