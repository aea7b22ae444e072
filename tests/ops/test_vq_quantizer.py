"""``VectorQuantizer``: values and gradients, codebook statistics, revival, k-means, state, compilation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.ops import VectorQuantizer
from gptface.ops.vq.codebook import cluster_sums, pick_rows
from gptface.ops.vq.gradient import rotation_trick, straight_through
from gptface.ops.vq.kmeans import kmeans

PLAIN: dict[str, Any] = {"kmeans_init": False, "revive_below": 0.0}
KINDS: dict[str, dict[str, Any]] = {
    "ema": {},
    "gradient": {"codebook_update": "gradient"},
    "cosine": {"metric": "cosine"},
    "cosine gradient": {"metric": "cosine", "codebook_update": "gradient"},
    "groups": {"groups": 2},
    "candidates": {"topk": 3},
    "entropy": {"entropy_weight": 0.1, "topk": 2},
    "everything": {
        "codebook_update": "gradient",
        "metric": "cosine",
        "groups": 2,
        "topk": 2,
        "entropy_weight": 0.1,
        "estimator": "rotation",
    },
}


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(dim: int, size: int, seed: int = 0, **options: Any) -> VectorQuantizer:
    torch.manual_seed(seed)
    return VectorQuantizer(dim, size, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_output(kind: str) -> None:
    quantizer = build(8, 16, **KINDS[kind])
    x = draw(3, 20, 8, seed=1)
    quantizer(x)  # initialises
    before = copy.deepcopy(quantizer)
    found = quantizer(x)
    leading = (3, 20) if quantizer.groups == 1 else (3, 20, quantizer.groups)
    assert found.indices.shape == leading and found.indices.dtype == torch.int64
    assert found.quantized.shape == x.shape and found.quantized.dtype == x.dtype
    assert torch.equal(found.quantized, before.lookup(found.indices))
    assert found.loss.shape == found.perplexity.shape == found.usage.shape == ()
    if quantizer.topk == 1:
        assert found.candidates is None and found.weights is None
    else:
        assert found.candidates.shape == found.weights.shape == (*leading, quantizer.topk)
        assert torch.equal(found.candidates[..., 0], found.indices)
        torch.testing.assert_close(found.weights.sum(-1), torch.ones(leading))
        assert (found.weights.diff(dim=-1) <= 0).all()
    counts = [column.bincount(minlength=16) for column in found.indices.reshape(60, -1).T]
    shares = [count[count > 0] / 60 for count in counts]
    expected = sum(float((-share * share.log()).sum().exp()) for share in shares) / len(shares)
    assert found.perplexity.item() == pytest.approx(expected, rel=1e-5)
    assert found.usage.item() == pytest.approx(sum(len(share) for share in shares) / len(shares) / 16)


def test_loss_is_the_formula() -> None:
    x = draw(50, 6, seed=2)
    for update, expected in (("ema", 0.3), ("gradient", 0.3 + 2.0)):
        quantizer = build(6, 9, codebook_update=update, commitment_weight=0.3, codebook_weight=2.0, **PLAIN).eval()
        distances = torch.cdist(x.double(), quantizer.codebook.double())
        torch.testing.assert_close(
            quantizer(x).loss.double(),
            expected * distances.min(-1).values.square().sum() / x.numel(),
            rtol=1e-6,
            atol=0,
        )


def test_values_are_exactly_codes_also_in_bfloat16() -> None:
    quantizer = build(8, 16, **PLAIN)
    x = (draw(40, 8, seed=3) * 1e-3).bfloat16()
    for estimator in ("straight_through", "rotation"):
        quantizer.estimator = estimator
        found = quantizer(x, update=False)
        assert found.quantized.dtype == torch.bfloat16
        assert torch.equal(found.quantized, quantizer.lookup(found.indices).bfloat16())


def test_straight_through_gradient_is_the_identity() -> None:
    x, code = draw(7, 5, seed=4).requires_grad_(), draw(7, 5, seed=5)
    out = straight_through(x, code)
    assert torch.equal(out, code)
    gradient = draw(7, 5, seed=6)
    out.backward(gradient)
    assert torch.equal(x.grad, gradient)


def test_rotation_gradient_is_the_scaled_rotation() -> None:
    x, code = draw(7, 5, seed=7).double().requires_grad_(), draw(7, 5, seed=8).double()
    out = rotation_trick(x, code)
    assert torch.equal(out, code)
    gradient = draw(7, 5, seed=9).double()
    out.backward(gradient)
    for row, code_row, given, got in zip(x.detach(), code, gradient, x.grad, strict=True):
        e, q = row / row.norm(), code_row / code_row.norm()
        r = (e + q) / (e + q).norm()
        rotation = torch.eye(5, dtype=torch.float64) - 2 * torch.outer(r, r) + 2 * torch.outer(q, e)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(5, dtype=torch.float64))
        torch.testing.assert_close(rotation @ e, q)
        torch.testing.assert_close(got, code_row.norm() / row.norm() * rotation.T @ given)


def test_rotation_of_a_zero_vector_and_an_opposite_code_is_finite() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 1.0]], requires_grad=True)
    rotation_trick(x, torch.tensor([[1.0, 0.0], [-1.0, -2.0], [0.0, 0.0]])).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_loss_and_weights(kind: str, masked: bool) -> None:
    options = {**KINDS[kind], "codebook_update": "gradient", **PLAIN}
    quantizer = build(4, 5, **options).double().eval()
    with torch.no_grad():
        quantizer.weight.mul_(5 * 0.7)  # codes far enough apart that no index changes under the probes
    x = draw(6, 4, seed=10).double().requires_grad_()
    mask = torch.tensor([True, False, True, True, False, True]) if masked else None
    weight = quantizer.weight.detach().clone().requires_grad_()

    def commitment(x: Tensor) -> Tensor:
        return torch.func.functional_call(quantizer, {"weight": weight.detach()}, (x, mask)).loss

    def outputs(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        found = torch.func.functional_call(quantizer, {"weight": weight}, (x, mask))
        return (found.weights,) if found.weights is not None else (found.quantized * 0 + found.quantized.detach() * 0,)

    # Each squared error is differentiable on one side only: probe x with the codebook's term off, and the other way.
    quantizer.codebook_weight, quantizer.commitment_weight = 0.0, 0.3
    assert torch.autograd.gradcheck(commitment, (x,))
    quantizer.codebook_weight, quantizer.commitment_weight = 1.5, 0.0
    assert torch.autograd.gradcheck(
        lambda weight: torch.func.functional_call(quantizer, {"weight": weight}, (x.detach(), mask)).loss, (weight,)
    )
    if quantizer.topk > 1:
        assert torch.autograd.gradcheck(outputs, (x, weight))


@pytest.mark.parametrize("kind", ["ema", "cosine", "groups"])
@pytest.mark.parametrize("masked", [False, True])
def test_moving_average_equals_a_dense_one_hot_computation(kind: str, masked: bool) -> None:
    options = KINDS[kind]
    quantizer = build(6, 11, decay=0.8, epsilon=1e-3, **PLAIN, **options)
    groups, spherical = quantizer.groups, quantizer.metric == "cosine"
    weight = quantizer.weight.detach().double().reshape(groups, 11, -1)
    sizes, sums = torch.ones(groups, 11, dtype=torch.float64), weight.clone()
    for step in range(12):
        x = draw(40, 6, seed=100 + step)
        mask = draw(40, seed=200 + step) > 0 if masked else None
        found = quantizer(x, mask)
        for group, rows in enumerate(x.double().chunk(groups, dim=-1)):
            rows = functional.normalize(rows, dim=-1) if spherical else rows
            one_hot = functional.one_hot(torch.cdist(rows, weight[group]).argmin(-1), 11).double()
            assert torch.equal(one_hot.argmax(-1), found.indices.reshape(40, groups)[:, group])
            if mask is not None:
                one_hot = one_hot * mask.unsqueeze(-1)
            sizes[group] = 0.8 * sizes[group] + 0.2 * one_hot.sum(0)
            sums[group] = 0.8 * sums[group] + 0.2 * one_hot.T @ rows
            total = sizes[group].sum()
            smoothed = (sizes[group] + 1e-3) / (total + 11 * 1e-3) * total
            weight[group] = sums[group] / smoothed.unsqueeze(-1)
            if spherical:
                weight[group] = functional.normalize(weight[group], dim=-1)
    torch.testing.assert_close(quantizer.cluster_size.double().reshape(groups, 11), sizes, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(quantizer.codebook.double().reshape(groups, 11, -1), weight, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("poisoned_empty")
def test_cluster_sums() -> None:
    rows, indices = draw(2, 1000, 7, seed=11), torch.randint(0, 40, (2, 1000))
    usable = draw(2, 1000, seed=12) > -1
    rows[0, :50], usable[0, :50] = torch.nan, False
    indices[indices == 13] = 14  # a code without rows
    indices[indices == 39] = 38
    counts, sums = cluster_sums(rows, indices, usable, 40)
    one_hot = functional.one_hot(indices, 40).double() * usable.unsqueeze(-1)
    torch.testing.assert_close(counts.double(), one_hot.sum(1))
    torch.testing.assert_close(
        sums.double(), one_hot.transpose(1, 2) @ rows.double().nan_to_num(), rtol=1e-5, atol=1e-5
    )
    assert sums[:, [13, 39]].eq(0).all()
    assert all(torch.equal(a, b) for a, b in zip(cluster_sums(rows, indices, usable, 40), (counts, sums), strict=True))
    empty = cluster_sums(torch.empty(2, 0, 7), torch.empty(2, 0, dtype=torch.int64), torch.empty(2, 0).bool(), 5)
    assert empty[0].eq(0).all() and empty[1].shape == (2, 5, 7) and empty[1].eq(0).all()


def test_bad_rows_and_masked_rows_leave_the_statistics_alone() -> None:
    clean, dirty = build(4, 8, **PLAIN), build(4, 8, **PLAIN)
    x = draw(30, 4, seed=13)
    worse = torch.cat([x, torch.full((2, 4), torch.nan), torch.full((3, 4), torch.inf)])
    clean(x)
    dirty(worse)
    for name, value in clean.state_dict().items():
        assert torch.equal(value, dirty.state_dict()[name]), name
    padded = torch.cat([x, draw(9, 4, seed=14)])
    mask = torch.arange(39) < 30
    first, second = clean(x), dirty(padded, mask)
    torch.testing.assert_close(first.loss, second.loss)
    assert torch.equal(first.perplexity, second.perplexity)
    for name, value in clean.state_dict().items():
        assert torch.equal(value, dirty.state_dict()[name]), name
    assert dirty(padded, torch.zeros(39, dtype=torch.bool)).loss == 0


@pytest.mark.parametrize("update", ["ema", "gradient"])
@pytest.mark.parametrize("groups", [1, 2])
def test_dead_codes_move_onto_rows_of_the_batch(update: Any, groups: int) -> None:
    quantizer = build(6, 20, groups=groups, codebook_update=update, kmeans_init=False, revive_below=0.2)
    with torch.no_grad():
        quantizer.weight[..., 5:, :] += 1000.0  # nobody will choose these
        quantizer.cluster_size.fill_(10.0)
        quantizer.cluster_size[..., 5:] = 0.01
        if update == "ema":
            quantizer.cluster_sum.copy_(quantizer.weight * quantizer.cluster_size.unsqueeze(-1))
    rows, before = draw(200, 6, seed=15), quantizer.weight.detach().clone().reshape(groups, 20, -1)
    assert quantizer(rows).usage == 0.25
    assert quantizer(rows, update=False).usage > 0.9
    sizes, codes = quantizer.cluster_size.reshape(groups, 20), quantizer.weight.detach().reshape(groups, 20, -1)
    for group, part in enumerate(rows.chunk(groups, dim=-1)):
        assert (codes[group, 5:, None] == part).all(-1).any(-1).all()
        assert len(codes[group, 5:].unique(dim=0)) == 15
        # Sizes of revived codes are the mean at that moment: (5 codes · (9.9 + 0.01 · 40) + what the dead had) / 20.
        torch.testing.assert_close(sizes[group, 5:], torch.full((15,), (51.5 + 15 * 0.0099) / 20))
        assert (codes[group, :5] - before[group, :5]).abs().max() < (0.5 if update == "ema" else 1e-9)
        if update == "ema":
            sums = quantizer.cluster_sum.reshape(groups, 20, -1)[group, 5:]
            torch.testing.assert_close(sums, codes[group, 5:] * sizes[group, 5:, None])


def test_revival_is_decided_by_seed_and_step() -> None:
    def picks(seed: int, step: int) -> Tensor:
        rows = torch.arange(1000.0).reshape(1, 1000, 1)
        found, exists = pick_rows(rows, torch.ones(1, 1000, dtype=torch.bool), 300, seed, torch.tensor(step))
        assert exists.eq(1).all()
        return found.flatten()

    assert torch.equal(picks(1, 2), picks(1, 2))
    assert not torch.equal(picks(1, 2), picks(1, 3))
    assert not torch.equal(picks(1, 2), picks(2, 2))
    for step in range(20):
        rows = picks(7, step)
        assert len(rows.unique()) == 300
        assert rows.diff().abs().min() > 100  # neighbours in the codebook come from far apart
        spread = rows.sort().values.diff()
        assert spread.max() < 10  # and together they cover the batch
    everything = torch.cat([picks(3, step) for step in range(400)]).long().bincount(minlength=1000)
    assert everything.min() > 80 and everything.max() < 160  # 120 expected of each row


def test_a_pick_that_is_not_usable_revives_nothing() -> None:
    rows = draw(1, 10, 3, seed=16)
    usable = torch.zeros(1, 10, dtype=torch.bool)
    usable[0, 4] = True
    picks, found = pick_rows(rows, usable, 50, 0, torch.tensor(0))
    assert 0 < found.sum() < 50
    assert (picks[found > 0] == rows[0, 4]).all() and picks[found == 0].eq(0).all()
    quantizer = build(3, 8, kmeans_init=False, revive_below=0.5, decay=0.0)
    before = quantizer.weight.clone()
    quantizer(torch.full((12, 3), torch.nan))
    torch.testing.assert_close(quantizer.weight, before)


def test_revival_keeps_the_codebook_in_use() -> None:
    usage = {}
    for revive_below in (0.0, 0.1):
        torch.manual_seed(3)
        quantizer = build(8, 64, kmeans_init=False, decay=0.9, revive_below=revive_below)
        with torch.no_grad():
            quantizer.weight.mul_(10)
            quantizer.cluster_sum.mul_(10)
        for step in range(80):
            found = quantizer(draw(512, 8, seed=step))
        usage[revive_below] = found.usage.item()
    assert usage[0.0] < 0.5
    assert usage[0.1] > 0.95


def test_kmeans_lowers_the_error_and_finds_separated_clusters() -> None:
    rows, usable = draw(1, 2000, 5, seed=17), torch.ones(1, 2000, dtype=torch.bool)
    errors = []
    for iterations in (1, 2, 4, 8, 16):
        means, sizes = kmeans(rows, usable, 32, iterations)
        assert sizes.sum() == 2000 and (sizes > 0).all()
        errors.append(torch.cdist(rows[0], means[0]).min(-1).values.square().mean().item())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.95 * errors[0]

    torch.library.opcheck(torch.ops.gptface.kmeans.default, (rows, usable, 8, 2, False, 0, True, "auto"))

    centres = 100 * draw(6, 5, seed=18)
    order = torch.arange(600) % 6
    clustered = (centres[order] + draw(600, 5, seed=19)).unsqueeze(0)
    means, sizes = kmeans(clustered, torch.ones(1, 600, dtype=torch.bool), 6, 20)
    assert torch.cdist(means[0], clustered[0]).min(0).values.square().mean() < 1e4

    spherical, _ = kmeans(functional.normalize(rows, dim=-1), usable, 32, 5, spherical=True)
    torch.testing.assert_close(spherical.norm(dim=-1), torch.ones(1, 32))


@pytest.mark.parametrize("kind", ["ema", "gradient", "cosine", "groups"])
def test_first_training_batch_initialises_once(kind: str) -> None:
    quantizer = build(6, 16, **{**KINDS[kind], "decay": 0.99})
    start = quantizer.weight.detach().clone()
    quantizer.eval()(draw(100, 6, seed=20))
    assert torch.equal(quantizer.weight, start) and not quantizer.initialized
    rows = 50 + 5 * draw(300, 6, seed=21)
    found = quantizer.train()(rows)
    assert quantizer.initialized
    spread = rows.var(0).mean() if kind != "cosine" else torch.tensor(1.0)
    assert (
        found.quantized - (functional.normalize(rows, dim=-1) if kind == "cosine" else rows)
    ).square().mean() < spread
    after = quantizer.weight.detach().clone()
    quantizer(rows + 2)
    # One step of the average, not a new start.
    assert 0 < (quantizer.weight - after).abs().max() < 0.2 or quantizer.codebook_update == "gradient"
    torch.testing.assert_close(quantizer.weight, after, rtol=0, atol=0.2)


def test_a_loaded_codebook_is_not_initialised_again() -> None:
    trained = build(6, 16)
    trained(draw(300, 6, seed=22))
    fresh = build(6, 16, seed=1)
    fresh.load_state_dict(trained.state_dict())
    rows = 50 + draw(300, 6, seed=23)
    trained(rows)
    fresh(rows)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
    # Also where a loader writes the tensors without asking the module, as transformers does.
    other = build(6, 16, seed=2)
    for name, value in trained.state_dict().items():
        dict(other.named_buffers())[name].copy_(value)
    trained(rows)
    other(rows)
    assert torch.equal(trained.weight, other.weight)


def test_first_batch_smaller_than_the_codebook_or_empty() -> None:
    quantizer = build(4, 64)
    found = quantizer(draw(10, 4, seed=24))
    assert quantizer.weight.isfinite().all() and found.loss < 1e-6  # each row is a code
    empty = build(4, 64)
    before = empty.weight.clone()
    found = empty(torch.empty(0, 4))
    assert found.quantized.shape == (0, 4) and found.indices.shape == (0,) and found.loss == 0
    torch.testing.assert_close(empty.weight, before)
    assert not empty.initialized


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_training_gives_the_same_bits(kind: str) -> None:
    def train(quantizer: VectorQuantizer, steps: range) -> None:
        optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1) if list(quantizer.parameters()) else None
        for step in steps:
            quantizer(draw(64, 8, seed=step)).loss.backward() if optimizer else quantizer(draw(64, 8, seed=step))
            if optimizer:
                optimizer.step()
                optimizer.zero_grad()

    options = {**KINDS[kind], "revive_below": 0.3, "decay": 0.8}
    whole, first, second = build(8, 16, **options), build(8, 16, **options), build(8, 16, seed=9, **options)
    train(whole, range(10))
    train(first, range(5))
    second.load_state_dict(first.state_dict())
    train(second, range(5, 10))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_evaluation_and_update_false_change_nothing() -> None:
    quantizer = build(8, 16)
    quantizer(draw(64, 8, seed=25))
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(draw(64, 8, seed=26), update=False)
    quantizer.eval()(draw(64, 8, seed=26))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    quantizer(draw(64, 8, seed=26), update=True)
    assert not torch.equal(quantizer.weight, before["weight"])


@pytest.mark.parametrize("kind", ["cosine gradient", "everything", "entropy", "candidates"])
def test_two_forwards_before_one_backward(kind: str) -> None:
    # The codebook changes in place in every training forward: nothing autograd kept may notice.
    quantizer = build(8, 16, **{**KINDS[kind], "revive_below": 0.5, "decay": 0.5})
    x = draw(64, 8, seed=27).requires_grad_()
    total = sum(
        found.loss + found.quantized.sin().sum() + found.weights.square().sum()
        if found.weights is not None
        else found.loss
        for found in (quantizer(x), quantizer(x + 1))
    )
    total.backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_codebook_stays_float32_under_casts() -> None:
    for cast in ("half", "bfloat16"):
        quantizer = getattr(build(8, 16), cast)()
        assert {value.dtype for value in quantizer.state_dict().values() if value.is_floating_point()} == {
            torch.float32
        }
        found = quantizer(getattr(draw(64, 8, seed=28), cast)())
        assert found.quantized.dtype == getattr(draw(1, seed=0), cast)().dtype and found.loss.dtype == torch.float32
    assert build(8, 16).double().weight.dtype == torch.float64
    with torch.device("meta"):
        on_meta = VectorQuantizer(8, 16)
    assert on_meta.to_empty(device="cpu").weight.device.type == "cpu"


def floating_dtypes(module: torch.nn.Module) -> set[torch.dtype]:
    return {value.dtype for value in module.state_dict().values() if value.is_floating_point()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_moving_averages_do_not_stall_under_a_low_default_dtype(dtype: torch.dtype) -> None:
    """In bfloat16 the cluster sizes of a batch of 256 stood still at 206."""
    torch.set_default_dtype(dtype)
    try:
        quantizer = build(8, 16, decay=0.99, revive_below=0.0, kmeans_init=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert floating_dtypes(quantizer) == {torch.float32}
    quantizer.cluster_size.fill_(8.0)  # half of what the batches bring
    for step in range(600):
        quantizer(draw(256, 8, seed=step % 7))
    assert abs(float(quantizer.cluster_size.sum()) - 256) < 1


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("codebook_update", ["ema", "gradient"])
def test_a_state_saved_in_bfloat16_is_loaded_into_float32(assign: bool, codebook_update: Any) -> None:
    quantizer = build(8, 16, codebook_update=codebook_update)
    state = {name: v.bfloat16() if v.is_floating_point() else v for name, v in quantizer.state_dict().items()}
    kept = dict(state)
    quantizer.load_state_dict(state, assign=assign)
    assert floating_dtypes(quantizer) == {torch.float32} and torch.equal(quantizer.weight, state["weight"].float())
    assert all(state[name] is kept[name] for name in kept)  # the caller's dictionary is left as it was
    assert isinstance(quantizer.weight, torch.nn.Parameter) == (codebook_update == "gradient")


def test_autocast_changes_nothing() -> None:
    plain, cast = build(8, 16, entropy_weight=0.1), build(8, 16, entropy_weight=0.1)
    x = draw(64, 8, seed=29)
    expected = plain(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cast(x)
    assert torch.equal(found.loss, expected.loss) and torch.equal(found.quantized, expected.quantized)
    assert torch.equal(plain.weight, cast.weight)


@pytest.mark.parametrize("kind", ["ema", "gradient", "everything"])
def test_training_compiles_whole(kind: str) -> None:
    torch._dynamo.reset()
    # fullgraph refuses whatever asks the host: so does k-means (first step), revival and the moving average.
    options = {**KINDS[kind], "revive_below": 0.3, "decay": 0.8}
    eager, compiled = build(8, 16, **options), build(8, 16, **options)
    step = torch.compile(compiled, fullgraph=True, dynamic=True, backend="aot_eager")
    for number in (64, 64, 41):
        x, y = draw(number, 8, seed=number).requires_grad_(), draw(number, 8, seed=number).requires_grad_()
        expected, found = eager(x), step(y)
        assert torch.equal(expected.indices, found.indices)
        torch.testing.assert_close(expected.loss, found.loss)
        (expected.loss + expected.quantized.sin().sum()).backward()
        (found.loss + found.quantized.sin().sum()).backward()
        torch.testing.assert_close(x.grad, y.grad)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(value, compiled.state_dict()[name])


def test_one_code_and_one_vector() -> None:
    quantizer = build(4, 1)
    found = quantizer(draw(4, seed=30))
    assert found.indices.shape == () and found.indices == 0 and found.perplexity == 1 and found.usage == 1


def test_lookup_is_differentiable_and_grouped() -> None:
    quantizer = build(6, 5, groups=2, codebook_update="gradient", **PLAIN)
    indices = torch.tensor([[0, 4], [3, 1]])
    codes = quantizer.lookup(indices)
    assert torch.equal(codes[0], torch.cat([quantizer.weight[0, 0], quantizer.weight[1, 4]]))
    codes.sum().backward()
    assert quantizer.weight.grad.sum() == codes.numel()
    with pytest.raises(InputError, match=r"indices has shape \(3,\)"):
        quantizer.lookup(torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"metric": "dot"}, "metric='dot'"),
        ({"codebook_update": "adam"}, "codebook_update='adam'"),
        ({"estimator": "gumbel"}, "estimator='gumbel'"),
        ({"groups": 3}, "groups=3"),
        ({"decay": 1.5}, "decay=1.5"),
        ({"revive_below": 2.0}, "revive_below=2.0"),
        ({"topk": 17}, "topk=17"),
        ({"temperature": 0.0}, "temperature=0.0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        VectorQuantizer(8, 16, **options)
    with pytest.raises(InputError, match="codebook_size=0"):
        VectorQuantizer(8, 0)


def test_bad_input_is_named() -> None:
    quantizer = build(8, 16)
    with pytest.raises(InputError, match=r"x has shape \(3, 7\).*dim=8"):
        quantizer(torch.zeros(3, 7))
    with pytest.raises(InputError, match=r"x is torch\.int64"):
        quantizer(torch.zeros(3, 8, dtype=torch.int64))
    with pytest.raises(InputError, match=r"mask is torch\.float32"):
        quantizer(torch.zeros(3, 8), torch.ones(3))
