"""PaCo-FR's step and the plain autoencoder compute the same, and the gate sees where one does not."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contender import Contender
from benchmarks.subjects.pacofr_step import PaCoFRStep, Step
from gptface.training.stage import Moment

CPU = torch.device("cpu")
SUBJECT = PaCoFRStep()
CASE = SUBJECT.cases("miniature", CPU)[0]


def contender(name: str) -> Contender:
    return next(entry for entry in SUBJECT.contenders(CASE) if entry.name == name)


@pytest.mark.parametrize(
    ("own", "peer"), [("gptface", "plain PyTorch"), ("gptface, beliefs", "plain PyTorch, beliefs")]
)
def test_ours_and_the_plain_autoencoder_have_one_loss_and_one_gradient(own: str, peer: str) -> None:
    problem = SUBJECT.problem(CASE, CPU)
    ours, theirs = (contender(name).prepare(problem) for name in (own, peer))
    first, second = ours.outputs(ours.run(None)), theirs.outputs(theirs.run(None))
    torch.testing.assert_close(first.loss, second.loss, rtol=1e-5, atol=0)
    assert set(second.gradients) == set(first.gradients)
    for name, gradient in second.gradients.items():
        torch.testing.assert_close(first.gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
        assert bool(gradient.any()), name
    assert not SUBJECT.gate(problem, first).failure and not SUBJECT.gate(problem, second).failure


def test_other_masks_and_other_weights_are_refused() -> None:
    problem = SUBJECT.problem(CASE, CPU)
    plain, _ = problem.plain("pixels")
    masked = problem.objective("pixels", problem.model("pixels")).mask(problem.faces, Moment(0, 0, 0.0)).masked

    def failure(masked: torch.Tensor) -> str:
        plain.zero_grad()
        loss = plain(problem.faces.images, masked)
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
        return SUBJECT.gate(problem, Step("pixels", loss.detach(), gradients)).failure

    assert not failure(masked)
    assert "gradient error" in failure(masked.roll(1, 1))
    with torch.no_grad():
        plain.encoder.layers[0].contract.weight.mul_(1.1)
    assert "gradient error" in failure(masked)
