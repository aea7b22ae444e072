"""The attentive probe: is multi-head attention by one query, finds what a mean loses, and stops where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gptface.errors import InputError
from gptface.evaluation import attentive_probe as module
from gptface.evaluation.attentive_probe import AttentiveProbe, attentive_probe
from gptface.evaluation.probe import linear_probe


def test_it_is_multi_head_attention_by_one_query() -> None:
    width, heads, classes = 12, 3, 4
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(width, heads, batch_first=True, bias=False).double()
    query, output = torch.randn(width).double(), nn.Linear(width, classes).double()
    probe = AttentiveProbe(width, classes, heads).double()
    to_query, to_key, to_value = reference.in_proj_weight.unflatten(0, (3, heads, width // heads)).unbind()
    with torch.no_grad():
        asked = (to_query @ query) * (width // heads) ** -0.5  # (heads, d)
        probe.scores.copy_(torch.einsum("hdc,hd->ch", to_key, asked))
        probe.values.copy_(to_value.mT)
        probe.classifier.weight.copy_(output.weight @ reference.out_proj.weight)
        probe.classifier.bias.copy_(output.bias)
    tokens = torch.randn(5, 7, width).double()
    gathered, _ = reference(query.expand(5, 1, -1), tokens, tokens)
    torch.testing.assert_close(probe(tokens), output(gathered[:, 0]))


def patches(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One of nine patches, somewhere, is marked, and only its second feature's sign tells the label."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    tokens = generator.normal(size=(count, 9, 8))
    place = generator.integers(0, 9, count)
    tokens[np.arange(count), place, 0] += 8
    tokens[np.arange(count), place, 1] = 2 * (2 * labels - 1)
    return tokens.astype(np.float16), labels


def test_attention_finds_the_patch_that_a_mean_drowns() -> None:
    (train, labels), (test, truth) = patches(240, 0), patches(200, 1)
    result = attentive_probe(train, labels, test, truth)
    flat = linear_probe(train.mean(1), labels, test.mean(1), truth)
    assert result.accuracy > 0.9 > 0.8 > flat.accuracy
    assert result.accuracy == (result.predictions == truth).mean()
    assert 0 < result.steps <= 500


def test_the_same_seed_gives_the_same_answers_and_the_test_faces_choose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_LOOKS", 8)
    (train, labels), (test, truth) = patches(60, 0), patches(30, 1)
    torch.manual_seed(1)
    first = attentive_probe(train, labels, test, truth)
    torch.manual_seed(2)
    again = attentive_probe(train, labels, test[:7], 1 - truth[:7])
    assert first.steps == again.steps and first.selection == again.selection
    assert (first.predictions[:7] == again.predictions).all()


def test_noise_stays_at_chance() -> None:
    generator = np.random.default_rng(0)
    tokens, labels = generator.normal(size=(260, 2, 4)), generator.integers(0, 2, 260)
    result = attentive_probe(tokens[:60], labels[:60], tokens[60:], labels[60:])
    assert result.balanced < 0.65


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"train tokens \(5, 4\) and 5 labels"):
        attentive_probe(np.zeros((5, 4)), np.zeros(5), np.zeros((5, 2, 4)), np.zeros(5))
    with pytest.raises(InputError, match="test tokens"):
        attentive_probe(np.zeros((5, 2, 4)), np.zeros(5), np.zeros((5, 2, 4)), np.zeros(4))
