"""FaceGPT's losses: what is not known has no pull, parts of a step add up, and a picture alone tells its face."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.morphable import load_morphable_model
from gptface.morphable.coarser import coarser
from gptface.objectives import metric_distances
from gptface.systems.facegpt import FaceLayout
from gptface.systems.facegpt.configuration import FaceGPTSection
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.lessons import DrawnFaces, Lessons, SculptedFaces
from gptface.systems.facegpt.model import FaceGPT, FaceGPTOutput
from gptface.systems.facegpt.objective import FaceGPTObjective, Lesson
from gptface.systems.facegpt.sequence import ConversationBatch
from gptface.training.stage import Moment
from tests.systems.facegpt.small_parts import small_model, small_tokens

MODEL = coarser(load_morphable_model("synthetic", smooth_modes=0), 1.0)
LAYOUT = FaceLayout(MODEL)
TOKENS = small_tokens()


def lesson(number: int = 0, drawn: int = 3, sculpted: int = 2) -> Lesson:
    sources = {
        "drawn": DrawnFaces(RenderedFaces(MODEL, 32, 5), LAYOUT),
        "sculpture": SculptedFaces(Sentences(MODEL, 5), LAYOUT, MODEL),
    }
    return Lessons(sources, {"drawn": drawn, "sculpture": sculpted}, TOKENS, 32).make(number)


def objective(model: FaceGPT, **section: object) -> FaceGPTObjective:
    return FaceGPTObjective(model, FaceGPTSection.model_validate(section), LAYOUT, MODEL)


def moment(counts: Tensor | None = None) -> Moment:
    return Moment(step=0, micro_step=0, share=0.0, counts=counts)


def test_a_face_is_no_distance_from_itself_and_what_is_not_known_does_not_pull() -> None:
    measure = objective(small_model(TOKENS, face_size=LAYOUT.size))
    known = lesson().numbers
    own = LAYOUT.numbers(LAYOUT.parameters(known))
    assert float(measure.distances(LAYOUT.parameters(own), own, known).max()) < 1e-5
    numbers = (known + 0.1).requires_grad_(True)
    for name, place in LAYOUT.slices.items():
        partly = known.clone()
        partly[:, place] = torch.nan
        (pull,) = torch.autograd.grad(measure.distances(LAYOUT.parameters(numbers), numbers, partly).sum(), numbers)
        assert torch.isfinite(pull).all() and (pull[:, place] == 0).all(), name
        assert (pull != 0).any(1).all()


def test_the_mean_face_is_about_one_from_others_in_shape() -> None:
    measure = objective(small_model(TOKENS, face_size=LAYOUT.size))
    identity = torch.randn(200, LAYOUT.modes("identity"), generator=torch.Generator().manual_seed(0))
    numbers = torch.zeros(200, LAYOUT.size)
    known = torch.full_like(numbers, torch.nan)
    known[:, LAYOUT.slices["identity"]] = identity
    found = measure.distances(LAYOUT.parameters(numbers), numbers, known)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.15)


def test_the_face_at_rest_is_about_one_from_others_in_movement() -> None:
    measure = objective(small_model(TOKENS, face_size=LAYOUT.size))
    shown = RenderedFaces(MODEL, 32, 5).parameters(range(300)).expression
    moved = metric_distances(torch.zeros_like(shown), shown, measure.movement_metric)
    assert 0.4 < float(moved.mean()) < 2.5


def test_passes_of_a_step_add_up_to_the_step() -> None:
    """Two passes of unequal size, each divided by their mean counts: the same as every face and word counted once."""
    model = small_model(TOKENS, face_size=LAYOUT.size)
    measure = objective(model, mixture={"drawn": 1})
    parts = [lesson(0, 3, 2), lesson(1, 1, 4)]
    counts = [measure.counts(part, moment()) for part in parts]
    mean = torch.stack(counts).mean(0)
    with torch.no_grad():
        together = [measure(part, moment(mean))[1] for part in parts]
        apart = [measure(part, moment())[1] for part in parts]
    places = {"language": 0, "photometric": 1, "landmarks": 2, "parameters": 3, "shapes": 4}
    for name, place in places.items():
        sums = sum(float(part[name]) * float(count[place]) for part, count in zip(apart, counts, strict=True))
        wanted = sums / float(sum(count[place] for count in counts))
        assert sum(float(part[name]) for part in together) / 2 == pytest.approx(wanted, rel=1e-4), name


class _OneFace(FaceGPT):
    """Not a network: numbers that are parameters themselves."""

    free: Tensor

    def forward(self, batch: ConversationBatch) -> FaceGPTOutput:
        out = super().forward(batch)
        return FaceGPTOutput(hidden=out.hidden, numbers=self.free)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_and_its_landmarks_alone_tell_the_face(channels: int) -> None:
    seen = lesson(drawn=2, sculpted=0)
    unknown = Lesson(**{**vars(seen), "numbers": torch.full_like(seen.numbers, torch.nan)})
    small = small_model(TOKENS, face_size=LAYOUT.size, channels=channels)
    model = _OneFace(small.config)
    model.free = torch.nn.Parameter(torch.zeros(2, LAYOUT.size))
    weights = {"language": 0, "parameters": 0, "shapes": 0, "photometric": 5, "landmarks": 20, "prior": 0.001}
    measure = objective(model, losses=weights)
    judge = objective(model)

    def away() -> Tensor:
        return judge.distances(LAYOUT.parameters(model.free.detach()), model.free.detach(), seen.numbers)

    before, first = away(), measure(unknown, moment())[1]
    optimizer = torch.optim.Adam([model.free], lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        total, parts = measure(unknown, moment())
        total.backward()
        optimizer.step()
    assert "parameters" not in parts
    assert parts["photometric"].item() < 0.7 * first["photometric"].item()
    assert parts["landmarks"].item() < 0.2 * first["landmarks"].item()
    assert (away() < 0.5 * before).all()
