"""Which of several candidates of an edit is kept."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from gptface.models import FaceParser, FaceParserConfig
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.generation import FaceGenerator
from gptface.systems.gptface.generation.ranking import CANDIDATES, wish_verdict
from gptface.systems.gptface.generation.where import Where
from tests.systems.gptface.generation.systems import tiny_system

PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), dtype=bool)
MASK[8:24, 8:24] = True


def system_with_names() -> FaceSystem:
    system = tiny_system()
    torch.manual_seed(3)
    names = {"attribute_names": ["Bald", "Blond_Hair", "Eyeglasses"], "expression_names": ["anger", "sadness", "fear"]}
    system.parser = FaceParser(FaceParserConfig.tiny(region_names=REGIONS, **names)).eval()
    return system


SYSTEM = system_with_names()


def draws(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many candidates each edit draws, as they are drawn."""
    import gptface.systems.gptface.generation.drawing as drawing

    counted: list[int] = []
    original = drawing.best_of_seeds

    def counting(draw, seeds, best_of, *rest):  # type: ignore[no-untyped-def]
        counted.append(best_of)
        return original(draw, seeds, best_of, *rest)

    monkeypatch.setattr(drawing, "best_of_seeds", counting)
    return counted


WISHES = [{"attributes": "Blond_Hair"}, {"attributes": "no Blond_Hair"}, {"expressions": "anger"}]


@pytest.mark.parametrize("wish", WISHES)
def test_the_candidate_that_the_parser_finds_the_wish_in_is_kept(wish: dict[str, str]) -> None:
    generator = FaceGenerator(SYSTEM)
    verdict = wish_verdict(SYSTEM.parser, Where(MASK, **wish), 1)
    assert verdict is not None
    gained = []
    for seed in range(3):
        # The first candidates of 1, 2, … draws are the same: what is kept can only get better.
        found = []
        for best_of in (1, 2, 4, 8):
            options = {"masks": MASK, "best_of": best_of, "feather_width": 0, "seeds": seed, **wish}
            edited = generator.edit(PHOTO, "a face", **options).images[0]
            found.append(float(verdict(torch.from_numpy(edited).permute(2, 0, 1)[None].float() / 127.5 - 1)))
            assert np.array_equal(edited[~MASK], PHOTO[~MASK])
        assert all(later >= earlier - 1e-3 for earlier, later in pairwise(found))
        gained.append(found[-1] - found[0])
    assert max(gained) > 0.01


def test_log_odds_are_those_of_the_wish() -> None:
    parser, pictures = SYSTEM.parser, torch.rand(2, 3, 32, 32) * 2 - 1
    assert parser is not None
    with torch.no_grad():
        output = parser(pictures)
    columns = [parser.config.attribute_names.index(name) for name in ("Bald", "Eyeglasses")]
    verdict = wish_verdict(parser, Where(attributes=["Bald", "no Eyeglasses"]), 2)
    assert verdict is not None
    wanted = torch.stack([output.attribute_logits[0, columns[0]], -output.attribute_logits[1, columns[1]]])
    torch.testing.assert_close(verdict(pictures), wanted, rtol=1e-4, atol=1e-5)
    verdict = wish_verdict(parser, Where(expressions="sadness"), 2)
    assert verdict is not None
    chances = output.expression_logits.softmax(-1)[:, parser.config.expression_names.index("sadness")]
    torch.testing.assert_close(verdict(pictures), chances.logit(), rtol=1e-3, atol=1e-4)


def test_how_many_are_drawn_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = draws(monkeypatch)
    FaceGenerator(SYSTEM).edit(PHOTO, masks=MASK, attributes="Blond_Hair")
    FaceGenerator(SYSTEM).edit(PHOTO, "a man", masks=MASK)
    FaceGenerator(tiny_system()).edit(PHOTO, masks=MASK, attributes="Blond_Hair")  # nobody there to judge
    FaceGenerator(SYSTEM).edit(PHOTO, masks=MASK, attributes="Blond_Hair", best_of=2)
    assert counted == [CANDIDATES, 1, 1, 2]
    with pytest.raises(InputError, match="best_of must be at least 1, got 0"):
        FaceGenerator(SYSTEM).edit(PHOTO, masks=MASK, attributes="Blond_Hair", best_of=0)


def test_a_parser_that_does_not_know_the_wish_judges_nothing() -> None:
    assert wish_verdict(None, Where(attributes="Bald"), 1) is None
    assert wish_verdict(SYSTEM.parser, Where(MASK), 1) is None
    assert SYSTEM.parser is not None
    assert wish_verdict(SYSTEM.parser, Where(MASK, attributes="Wearing_Hat"), 1) is None
    assert wish_verdict(SYSTEM.parser, Where(MASK, expressions="happiness"), 1) is None
