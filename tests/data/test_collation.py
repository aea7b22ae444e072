from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.collation import IGNORED, LabelCollator, stack_images
from gptface.data.procedural import ATTRIBUTES, EXPRESSIONS, ProceduralFaces
from gptface.data.sample import Sample
from gptface.errors import InputError
from tests.helpers.image_files import gradient


def face(number: int, caption: str = "a face", **metadata: object) -> Sample:
    labels = np.random.default_rng(number).integers(0, 13, (16, 16)).astype(np.uint8)
    return Sample(gradient(16, 16, number), caption, number, metadata, labels)


def test_images_are_scaled_to_minus_one_and_one_exactly() -> None:
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, 0], image[0, 2] = 255, (0, 51, 204)
    batch = stack_images([Sample(image, "", 0)])
    assert batch.shape == (1, 3, 1, 3) and batch.dtype == torch.float32 and batch.is_contiguous()
    assert batch[0, :, 0, 0].tolist() == [1, 1, 1] and batch[0, :, 0, 1].tolist() == [-1, -1, -1]
    assert torch.allclose(batch[0, :, 0, 2], torch.tensor([-1, -0.6, 0.6]))
    back = ((batch[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.array_equal(back, image)


def test_images_of_several_sizes_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="read the data set with a size"):
        stack_images([Sample(gradient(16, 16), "", 0), Sample(gradient(16, 8), "", 1)])


def test_label_batches_say_what_is_unknown() -> None:
    samples = [
        face(0, attributes={"Male": 1, "Smiling": 0}, hidden_attributes=["Bald"], expression="anger"),
        face(2, attributes={"Male": 1, "Smiling": 0}, hidden_attributes=["Smiling"]),
        Sample(gradient(16, 16), "", 1, {"expression": "contempt", "attributes": {"Male": 0}}),
    ]
    batch = LabelCollator(("Smiling", "Male"), EXPRESSIONS)(samples)
    assert batch.attributes[0].tolist() == [0, 1] and batch.attributes[2, 1] == 0 and batch.attributes[2, 0].isnan()
    assert batch.attributes[1, 1] == 1 and batch.attributes[1, 0].isnan()  # behind a mask nobody sees a smile
    assert batch.expressions.tolist() == [EXPRESSIONS.index("anger"), IGNORED, IGNORED]
    assert (
        np.array_equal(batch.region_maps[0].numpy(), samples[0].region_map) and (batch.region_maps[2] == IGNORED).all()
    )


def test_procedural_faces_make_complete_label_batches() -> None:
    faces = ProceduralFaces(seed=1, size=32, count=8, occluder_probability=0)
    batch = LabelCollator(ATTRIBUTES, EXPRESSIONS)([faces[index] for index in range(4)])
    assert batch.attributes.shape == (4, len(ATTRIBUTES)) and batch.attributes.isnan().float().mean() < 0.3
    assert (batch.expressions >= 0).all() and (batch.region_maps >= 0).all()
