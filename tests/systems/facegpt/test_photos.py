"""What a system looks at of a photo is what training looks at; where no face can be is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.data.images import load_image, save_image
from gptface.errors import InputError
from gptface.systems.facegpt.photos import cut_window, photo_problem, square

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)


def test_the_square_is_the_one_that_training_pictures_are_cut_to(tmp_path: Path) -> None:
    save_image(tmp_path / "photo.png", PHOTO)
    np.testing.assert_array_equal(square(PHOTO, 32), load_image(tmp_path / "photo.png", 32))
    assert square(PHOTO).shape == (40, 40, 3)
    assert square(PHOTO[:, :40], 40) is not None and np.array_equal(square(PHOTO[:, :40], 40), PHOTO[:, :40])


@given(left=st.integers(-5, 70), top=st.integers(-5, 50), side=st.integers(-1, 70))
def test_a_window_is_cut_or_refused(left: int, top: int, side: int) -> None:
    if side >= 1 and left >= 0 and left + side <= 61 and top >= 0 and top + side <= 40:
        np.testing.assert_array_equal(cut_window(PHOTO, left, top, side), PHOTO[top : top + side, left : left + side])
    else:
        with pytest.raises(InputError, match="61x40"):
            cut_window(PHOTO, left, top, side)


def test_where_no_face_can_be() -> None:
    assert photo_problem(PHOTO) is None
    assert "too few" in str(photo_problem(PHOTO[:20]))
    assert photo_problem(np.full((40, 40, 3), 77, dtype=np.uint8)) == "it is blank"
