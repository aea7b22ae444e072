"""Components of a face, found again in a second view of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from gptface.objectives import component_count, component_loss, component_means, components_seen


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 4), st.integers(0, 999))
def test_means_are_those_of_the_patches_that_are_seen(batch: int, patches: int, count: int, seed: int) -> None:
    torch.manual_seed(seed)
    features, labels = torch.randn(batch, patches, 3), torch.randint(-1, count, (batch, patches))
    means, seen = component_means(features, labels, count), components_seen(labels, count)
    for b in range(batch):
        for g in range(count):
            own = features[b][labels[b] == g].double()
            assert bool(seen[b, g]) == (len(own) > 0)
            wanted = own.mean(0) if len(own) else torch.zeros(3, dtype=torch.float64)
            torch.testing.assert_close(means[b, g].double(), wanted, rtol=1e-5, atol=1e-6)


def by_definition(summaries: Tensor, seen: Tensor, temperature: float) -> tuple[float, float, int]:
    """Sums of losses and of hits over the components seen in both views, and their number, in float64."""
    faces = len(summaries) // 2
    rows = normalize(summaries.double(), dim=-1)
    views = (rows[:faces], seen[:faces]), (rows[faces:], seen[faces:])
    losses, hits, count = 0.0, 0.0, 0
    for g in range(seen.shape[1]):
        for face in range(faces):
            if not (seen[face, g] and seen[faces + face, g]):
                continue
            count += 1
            for (own, _), (others, known) in (views, views[::-1]):
                logits = {f: float(own[face, g] @ others[f, g]) / temperature for f in range(faces) if known[f, g]}
                every = torch.tensor(list(logits.values()), dtype=torch.float64)
                losses += 0.5 * (float(every.logsumexp(0)) - logits[face])
                hits += 0.5 * (max(logits, key=lambda f: logits[f]) == face)
    return losses, hits, count


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 999))
def test_it_is_its_definition(faces: int, count: int, seed: int) -> None:
    torch.manual_seed(seed)
    summaries, seen = torch.randn(2 * faces, count, 6), torch.rand(2 * faces, count) < 0.7
    losses, hits, number = by_definition(summaries, seen, 0.1)
    assert float(component_count(seen)) == number
    loss, accuracy = component_loss(summaries, seen, 0.1)
    assert float(loss) == pytest.approx(losses / max(number, 1), rel=1e-4, abs=1e-5)
    assert float(accuracy) == pytest.approx(hits / max(number, 1))
    halves = component_loss(summaries, seen, 0.1, torch.tensor(2.0 * max(number, 1)))
    torch.testing.assert_close(halves, (loss / 2, accuracy / 2))


def test_what_is_not_seen_in_both_views_has_no_gradient() -> None:
    torch.manual_seed(0)
    summaries = torch.randn(6, 2, 4, requires_grad=True)
    seen = torch.ones(6, 2, dtype=torch.bool)
    seen[:, 1] = False
    component_loss(summaries, seen, 0.1)[0].backward()
    assert summaries.grad is not None and summaries.grad.isfinite().all()
    assert summaries.grad[:, 0].any(1).all() and not summaries.grad[:, 1].any()
    assert component_loss(summaries, torch.zeros_like(seen), 0.1)[0] == 0
