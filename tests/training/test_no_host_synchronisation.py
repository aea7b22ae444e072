"""The pre-training step asks for no value of a tensor: no ``.item()``, no ``nonzero``, no shape that depends on data.

Tensors of the meta device have no values, so an operator that needs one raises there; on a GPU it would wait.
"""

from __future__ import annotations

import dataclasses

import pytest

from gptface.training.pretraining_data import Pairs
from gptface.training.stage import Moment
from tests.training.test_pretraining_objective import make_objective, make_pairs


@pytest.mark.filterwarnings("ignore:gptface runs without a native kernel")
@pytest.mark.parametrize("share", [0.0, 0.9])  # of the run: with hard negatives and pair weights towards its end
def test_masks_gather_and_losses_forward_and_backward(share: float) -> None:
    pairs, objective = make_pairs(32), make_objective(pairs=64, pair_weighting={"enabled": True}).to("meta")
    there = Pairs(**{field.name: getattr(pairs, field.name).to("meta") for field in dataclasses.fields(pairs)})
    loss, parts = objective(there, Moment(3, 3, share))
    loss.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert "caption_kept" in parts
    for ask in (loss.item, there.codes.nonzero):  # the check itself
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            ask()
