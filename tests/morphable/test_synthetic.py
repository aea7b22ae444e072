"""The built-in head: a sound mesh, symmetric, and shapes that do what their names say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    load_morphable_model,
    matrix_to_angles,
    named_parameters,
    prior_energy,
    project_landmarks,
    rotation_6d_to_matrix,
)

ARKIT = [
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "cheekPuff_L",
    "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "eyeLookDown_R",
    "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R", "eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L",
    "eyeSquint_R", "eyeWide_L", "eyeWide_R", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimple_L", "mouthDimple_R", "mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft",
    "mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R",
    "mouthStretch_L", "mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R",
]  # fmt: skip


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return load_morphable_model("synthetic", smooth_modes=0)


def marks(head: MorphableModel, **expression: float) -> torch.Tensor:
    return head.landmarks(head(None, head.weights("expression", expression)))[0]


def identity_marks(head: MorphableModel, **identity: float) -> torch.Tensor:
    return head.landmarks(head(head.weights("identity", identity)))[0]


def test_expression_shapes_are_named_as_arkit_names_them(head: MorphableModel) -> None:
    assert sorted(head.expression_names) == sorted(ARKIT)
    assert len(head.identity_names) == 32 and len(head.landmark_vertices) == 68
    assert 4000 < head.vertex_count < 10000


def test_mesh_is_sound(head: MorphableModel) -> None:
    triangles = head.triangles.numpy()
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    assert len(np.unique(edges, axis=0)) == len(edges), "neighbours are wound the same way, and no edge has three"
    assert len(np.unique(triangles)) == head.vertex_count, "every vertex is used"
    corners = head.mean[head.triangles.long()]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (areas.norm(dim=1) > 1e-7).float().mean() > 0.995
    skin = np.isin(triangles, head.regions["face"].numpy()).all(1)
    outward = (areas[skin] * (corners[skin].mean(1) - torch.tensor([0.0, -1.0, 0.0]))).sum(1)
    assert (outward > 0).float().mean() > 0.97, "the face looks outward"


def test_head_and_shapes_are_symmetric(head: MorphableModel) -> None:
    from scipy.spatial import cKDTree

    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = (head.mean * flip).numpy()
    away, _ = cKDTree(head.mean.numpy()).query(mirrored)
    assert away.max() < 0.02
    for name in ("mouthSmile", "eyeBlink", "browDown"):
        left, right = marks(head, **{f"{name}_L": 1.0}), marks(head, **{f"{name}_R": 1.0})
        moved = [(side - marks(head)).norm(dim=1) for side in (left, right)]
        assert moved[0].sum().item() == pytest.approx(moved[1].sum().item(), rel=0.02)


@pytest.mark.parametrize("name", [name for name in ARKIT if name.endswith("_L") and not name.startswith("eyeLook")])
def test_left_shapes_move_the_persons_left(head: MorphableModel, name: str) -> None:
    # The middle of the mouth is shared; apart from it, nothing right of the middle moves as far as the left.
    offset = head.expression_basis[head.expression_names.index(name)].norm(dim=1)
    x = head.mean[:, 0]
    assert offset[x > 0.5].max() > 0.08
    assert offset[x < -1.6].max() < 0.25 * offset[x > 1.0].max()


def test_jaw_opens_the_mouth_and_leaves_the_eyes(head: MorphableModel) -> None:
    shut, wide = marks(head), marks(head, jawOpen=1.0)
    assert torch.equal(shut[61:64], shut[[67, 66, 65]]), "the lips touch at rest"
    assert wide[62, 1] - wide[66, 1] > 1.5
    assert wide[8, 1] < shut[8, 1] - 1.5
    torch.testing.assert_close(wide[36:48], shut[36:48])
    closed = marks(head, jawOpen=1.0, mouthClose=1.0)
    assert closed[62, 1] - closed[66, 1] < 0.25 * (wide[62, 1] - wide[66, 1])


def test_blink_closes_one_eye(head: MorphableModel) -> None:
    def opening(points: torch.Tensor) -> float:
        return float((points[43] + points[44] - points[46] - points[47])[1] / 2)

    rest = opening(marks(head))
    assert rest > 0.5
    assert opening(marks(head, eyeBlink_L=1.0)) < 0.15 * rest
    assert opening(marks(head, eyeWide_L=1.0)) > 1.2 * rest
    assert opening(marks(head, eyeBlink_R=1.0)) == pytest.approx(rest)


@pytest.mark.parametrize(
    ("name", "point", "axis", "least"),
    [
        ("mouthSmile_L", 54, 1, 0.4), ("mouthSmile_L", 54, 0, 0.3), ("mouthFrown_L", 54, 1, -0.4),
        ("browInnerUp_L", 22, 1, 0.5), ("browDown_L", 23, 1, -0.4), ("browOuterUp_L", 25, 1, 0.5),
        ("mouthPucker", 54, 0, -0.5), ("mouthPucker", 51, 2, 0.4), ("jawLeft", 8, 0, 0.4), ("jawForward", 8, 2, 0.5),
        ("mouthUpperUp_L", 52, 1, 0.2), ("mouthLowerDown_L", 56, 1, -0.2), ("noseSneer_L", 35, 1, 0.15),
    ],
)  # fmt: skip
def test_expression_moves_its_landmark(head: MorphableModel, name: str, point: int, axis: int, least: float) -> None:
    moved = float((marks(head, **{name: 1.0}) - marks(head))[point, axis])
    assert moved * np.sign(least) > abs(least), moved


def test_gaze_turns_the_eyeball_and_keeps_it_round(head: MorphableModel) -> None:
    ball = head.regions["eyeball_left"]
    rest = head.mean[ball]
    pupil = rest[:, 2].argmax()
    turned = head(None, head.weights("expression", {"eyeLookOut_L": 1.0}))[0, ball]
    assert turned[pupil, 0] - rest[pupil, 0] > 0.3, "the person's left eye looks to the person's left"
    middle = rest.mean(0)
    assert (turned[:, 1:] - middle[1:]).norm(dim=1).max() < 1.1 * (rest[:, 1:] - middle[1:]).norm(dim=1).max()


@pytest.mark.parametrize(
    ("name", "first", "second", "axis"),
    [
        ("noseWidth", 35, 31, 0), ("mouthWidth", 54, 48, 0), ("eyeDistance", 42, 39, 0), ("jawWidth", 12, 4, 0),
        ("faceLength", 27, 8, 1), ("noseLength", 27, 33, 1), ("chinLength", 57, 8, 1), ("browHeight", 19, 37, 1),
        ("eyeSize", 44, 46, 1), ("lipFullnessLower", 66, 57, 1), ("lipFullnessUpper", 51, 62, 1),
    ],
)  # fmt: skip
def test_identity_shape_lengthens_what_it_names(
    head: MorphableModel, name: str, first: int, second: int, axis: int
) -> None:
    def length(points: torch.Tensor) -> float:
        return float((points[first] - points[second])[axis])

    rest = length(identity_marks(head))
    assert length(identity_marks(head, **{name: 1.0})) > rest + 0.02
    assert length(identity_marks(head, **{name: -1.0})) < rest - 0.02


def test_random_people_differ_by_millimetres(head: MorphableModel) -> None:
    weights = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    spread = head(weights).std(0).norm(dim=1)[head.regions["face"]].mean()
    assert 0.2 < spread < 1.0, "a standard deviation of 2 to 10 mm"


def test_same_head_every_time(head: MorphableModel) -> None:
    again = load_morphable_model("synthetic", smooth_modes=0)
    for name, value in again.state_dict().items():
        assert torch.equal(value, head.state_dict()[name]), name


def test_landmarks_alone_give_pose_and_smile(head: MorphableModel) -> None:
    truth = named_parameters(
        head,
        identity={"faceWidth": 1.5},
        expression={"jawOpen": 0.6, "mouthSmile_L": 0.8},
        pose={"yaw": 18, "pitch": -7},
    )
    target = project_landmarks(head, truth, 128, 128)
    start = FaceParameters.neutral(head)
    names = ("identity", "expression", "rotation", "translation")
    free = {name: getattr(start, name).clone().requires_grad_(True) for name in names}
    optimizer = torch.optim.Adam(free.values(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        fitted = start.replace(**free)
        away = (project_landmarks(head, fitted, 128, 128) - target).square().mean()
        (away + 1e-3 * prior_energy(head, free["identity"], free["expression"]).mean()).backward()
        optimizer.step()
    yaw, pitch, _ = (angle.item() for angle in matrix_to_angles(rotation_6d_to_matrix(free["rotation"])))
    assert (yaw, pitch) == pytest.approx((18, -7), abs=3)
    found = dict(zip(head.expression_names, free["expression"][0].tolist(), strict=True))
    assert found["jawOpen"] == pytest.approx(0.6, abs=0.15)
    assert found["mouthSmile_L"] > found["mouthSmile_R"] + 0.3
