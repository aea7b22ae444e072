"""A codebook packed once: the same bits as without, a snapshot nobody can part from what was packed, seen changes."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from gptface.errors import InputError
from gptface.ops import PackedCodebook, VectorQuantizer, VQLookup, implementations, pack_codebook, vq_lookup
from gptface.ops.native import cpu_instruction_set
from gptface.ops.vq import cpu
from gptface.ops.vq.packed import LastCodebook
from tests.ops.vq_cases import METRICS, draw

RUNNABLE = [found.name for found in implementations("vq_lookup") if found.available]
ON_CPU = [name for name in ("reference", "torch", "cpu") if name in RUNNABLE]
native = pytest.mark.skipif(cpu.cpu_missing() is not None, reason="no native kernel")


def assert_same_bits(one: VQLookup, other: VQLookup) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.dtype == b.dtype and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 150),
    size=st.one_of(st.integers(1, 60), st.integers(250, 300)),
    length=st.integers(1, 40),
    groups=st.sampled_from([0, 0, 1, 3]),
    metric=st.sampled_from(METRICS),
    precision=st.sampled_from(["exact", "tf32", "bf16"]),
    topk=st.sampled_from([1, 1, 2, 16]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    offset=st.sampled_from([0.0, 100.0]),
    nearest_rows=st.booleans(),
    seed=st.integers(0, 2**31),
)
@pytest.mark.parametrize("impl", ["auto", *ON_CPU])
def test_the_same_bits_as_without(
    impl: str, number: int, size: int, length: int, groups: int, metric: Any, precision: Any, topk: int,
    dtype: torch.dtype, offset: float, nearest_rows: bool, seed: int,
) -> None:  # fmt: skip
    if impl == "cpu" and dtype == torch.float64:
        dtype = torch.float32
    by_group = (groups,) if groups else ()
    x = draw(number, *by_group, length, seed=seed, offset=offset).to(dtype)
    codebook = draw(*by_group, size, length, seed=seed + 1, offset=offset).to(dtype)
    options: dict[str, Any] = {
        "metric": metric, "precision": precision, "topk": min(topk, size), "nearest_rows": nearest_rows,
        "return_scores": True, "impl": impl,
    }  # fmt: skip
    packed = pack_codebook(codebook, metric=metric, precision=precision)
    assert packed.shape == codebook.shape and packed.dtype == dtype and packed.device == codebook.device
    assert_same_bits(vq_lookup(x, packed, **options), vq_lookup(x, codebook, **options))


@native
@pytest.mark.parametrize("later", ["portable", "avx2", "avx512", "avx512_bf16", "emulated_amx"])
@pytest.mark.parametrize("earlier", ["portable", "avx512_bf16", "emulated_amx", "emulated_amx_avx512_bf16"])
def test_packed_under_one_instruction_set_and_used_under_another(earlier: str, later: str) -> None:
    before = cpu_instruction_set()
    x, codebook = draw(60, 48, seed=1), draw(300, 48, seed=2)
    try:
        cpu_instruction_set(earlier)
        packed = pack_codebook(codebook)
        cpu_instruction_set(later)
        assert_same_bits(
            vq_lookup(x, packed, nearest_rows=True, impl="cpu"), vq_lookup(x, codebook, nearest_rows=True, impl="cpu")
        )
    except RuntimeError as error:
        pytest.skip(str(error))
    finally:
        cpu_instruction_set(before)


def test_it_is_a_snapshot() -> None:
    x, codebook = draw(40, 33, seed=3), draw(270, 33, seed=4)
    expected = vq_lookup(x, codebook)
    packed = pack_codebook(codebook)
    codebook.data.normal_()
    packed.codebook.zero_()  # a copy
    assert_same_bits(vq_lookup(x, packed), expected)
    assert "snapshot" in repr(packed) and "(270, 33)" in repr(packed)
    with pytest.raises(AttributeError):
        packed.metric = "dot"  # type: ignore[misc]


def test_it_takes_the_memory_that_is_documented() -> None:
    copies = pack_codebook(draw(16384, 64, seed=5)).nbytes / (4 * 16384 * 64)
    assert 1.0 <= copies <= 2.6


def test_any_strides_of_the_codebook() -> None:
    x = draw(20, 6, seed=6)
    for codebook in (draw(6, 50, seed=7).T, draw(50, 12, seed=8)[:, ::2], draw(1, 6, seed=9).expand(50, 6)):
        assert_same_bits(vq_lookup(x, pack_codebook(codebook), topk=3), vq_lookup(x, codebook, topk=3))


@native
def test_what_is_not_finite() -> None:
    x, codebook = draw(30, 40, seed=10), draw(260, 40, seed=11)
    x[3, 4], codebook[5, 6], codebook[7, 8] = torch.nan, torch.inf, torch.nan
    options: dict[str, Any] = {"return_scores": True, "nearest_rows": True, "topk": 2}
    assert_same_bits(vq_lookup(x, pack_codebook(codebook), **options), vq_lookup(x, codebook, **options))


def test_what_does_not_fit_is_named() -> None:
    x, packed = draw(5, 8, seed=12), pack_codebook(draw(20, 8, seed=13), metric="cosine")
    for options, message in (
        ({}, "metric='euclidean', but the codebook was packed for metric='cosine'"),
        ({"metric": "cosine", "precision": "bf16"}, "precision='bf16', but the codebook was packed for .*'exact'"),
        ({"metric": "cosine", "topk": 21}, "topk=21; allowed: 1 to the number of codes, 20"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            vq_lookup(x, packed, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"x has shape \(5, 7\) and codebook \(20, 8\)"):
        vq_lookup(x[:, :7], packed, metric="cosine")
    with pytest.raises(InputError, match="x is on meta and codebook on cpu"):
        vq_lookup(x.to("meta"), packed, metric="cosine")
    for codebook, message in (
        (torch.zeros(8), r"pack_codebook: codebook has shape \(8,\)"),
        (torch.zeros(0, 8), r"pack_codebook: codebook has shape \(0, 8\); it needs at least one code"),
        (torch.zeros(4, 8, dtype=torch.int64), "pack_codebook: codebook is torch.int64"),
    ):
        with pytest.raises(InputError, match=message):
            pack_codebook(codebook)
    with pytest.raises(InputError, match="pack_codebook: metric='manhattan'"):
        pack_codebook(draw(3, 4, seed=14), metric="manhattan")  # type: ignore[arg-type]


@native
def test_memory_that_was_not_packed_for_this_call_is_refused() -> None:
    x, codebook = draw(1, 5, 8, seed=15), draw(1, 20, 8, seed=16)
    packed = cpu.pack(codebook, "euclidean", "exact")
    look = torch.ops.gptface.vq_lookup_packed_kernel
    for codes, words, metric in (
        (codebook[:, :19].contiguous(), packed, "euclidean"),
        (codebook, packed, "dot"),
        (codebook, packed[:-64].clone(), "euclidean"),
        (codebook, packed[:5].clone(), "euclidean"),
        (codebook, packed.float(), "euclidean"),
        (codebook, torch.cat([packed[:1], packed])[1:], "euclidean"),
    ):
        with pytest.raises(RuntimeError, match="packed was not made from such a codebook"):
            look(x, codes, words, metric, 1, False, False)


def test_gradients_go_to_the_rows_and_not_to_the_codebook() -> None:
    codebook = draw(30, 6, seed=17).requires_grad_()
    with torch.inference_mode():  # what is packed there serves outside
        packed = pack_codebook(codebook)
    gradients = []
    for codes in (packed, codebook):
        x = draw(12, 6, seed=18).requires_grad_()
        found = vq_lookup(x, codes, topk=2, return_scores=True)
        assert found.scores is not None
        found.scores.square().sum().backward()
        gradients.append(x.grad)
        assert (codebook.grad is None) == (codes is packed)
    assert torch.equal(*gradients)


def test_copies_and_pickles() -> None:
    x, packed = draw(25, 36, seed=19), pack_codebook(draw(256, 36, seed=20), metric="dot", precision="bf16")
    options: dict[str, Any] = {"metric": "dot", "precision": "bf16", "return_scores": True}
    assert copy.deepcopy(packed) is packed and copy.copy(packed) is packed
    again = pickle.loads(pickle.dumps(packed))
    assert isinstance(again, PackedCodebook) and again.metric == "dot" and again.precision == "bf16"
    assert_same_bits(vq_lookup(x, again, **options), vq_lookup(x, packed, **options))
    assert len(pickle.dumps(packed)) < 1.2 * 256 * 36 * 4 + 2000  # the layout of this processor stays here


def test_inside_a_compiled_function() -> None:
    x, codebook = draw(25, 36, seed=21), draw(256, 36, seed=22)
    packed, expected = pack_codebook(codebook), vq_lookup(x, codebook).indices
    torch.compiler.reset()
    for function, arguments in (
        (lambda x: vq_lookup(x, packed).indices, (x,)),
        (lambda x, codes: vq_lookup(x, codes).indices, (x, packed)),
        (lambda x, codes: vq_lookup(x, pack_codebook(codes)).indices, (x, codebook)),
    ):
        assert torch.equal(torch.compile(function, fullgraph=True, backend="eager")(*arguments), expected)


@native
def test_opcheck() -> None:
    x, codebook = draw(2, 6, 5, seed=23).requires_grad_(), draw(2, 7, 5, seed=24)
    packed = cpu.pack(codebook, "cosine", "exact")
    arguments = (x, codebook, "cosine", 2, "exact", True, "cpu", packed)
    torch.library.opcheck(torch.ops.gptface.vq_lookup.default, arguments)


# The quantizer keeps its codebook packed while nothing changes it.

KINDS: dict[str, dict[str, Any]] = {
    "moving averages": {},
    "gradient": {"codebook_update": "gradient"},
    "cosine": {"metric": "cosine"},
    "cosine, gradient": {"metric": "cosine", "codebook_update": "gradient"},
    "groups": {"groups": 4},
    "candidates": {"topk": 3, "codebook_update": "gradient"},
    "bfloat16": {"precision": "bf16"},
    "entropy": {"entropy_weight": 0.1, "codebook_update": "gradient"},
}


def build(kind: str, size: int = 40) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(16, size, kmeans_init=False, **KINDS[kind])


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a codebook is packed."""
    seen: list[int] = []

    def counted(*arguments: Any) -> Tensor:
        seen.append(1)
        return pack(*arguments)

    pack = cpu.pack
    monkeypatch.setattr(cpu, "pack", counted)
    return seen


def outcome(quantizer: VectorQuantizer, x: Tensor) -> list[Tensor]:
    return [value.clone() for value in quantizer(x, update=False) if value is not None]


def keeping_nothing() -> Any:
    """Inside it quantizers hand their codebook to the lookup as it is."""
    return mock.patch.object(LastCodebook, "serves", staticmethod(lambda *_: False))


def unkept(quantizer: VectorQuantizer, x: Tensor) -> list[Tensor]:
    with keeping_nothing():
        return outcome(quantizer, x)


@native
@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_packs_once(kind: str, packings: list[int]) -> None:
    quantizer, x = build(kind).eval(), draw(50, 16, seed=25)
    expected = unkept(quantizer, x)
    del packings[:]
    with torch.no_grad():
        for _ in range(3):
            assert all(torch.equal(*pair) for pair in zip(outcome(quantizer, x), expected, strict=True))
    assert len(packings) == 1
    quantizer(x, update=True)  # a training step in between
    outcome(quantizer, x)
    assert all(torch.equal(*pair) for pair in zip(outcome(quantizer, x), unkept(quantizer, x), strict=True))


def _double_and_back(quantizer: VectorQuantizer) -> None:
    with torch.no_grad():
        quantizer.weight.add_(1e-3)
    quantizer.double()
    quantizer.float()


CHANGES: dict[str, Callable[[VectorQuantizer], object]] = {
    "one element through .data": lambda q: q.weight.data[..., -1, -1].add_(1e-6),
    "the sign of zeros": lambda q: q.weight.data[..., -1, :].neg_(),
    "a swap of the tensor behind .data": lambda q: setattr(q.weight, "data", q.weight.data.flip(-2).contiguous()),
    "a strided tensor behind .data": lambda q: setattr(
        q.weight, "data", q.weight.data.flip(-2).transpose(-1, -2).contiguous().transpose(-1, -2)
    ),
    "through NumPy": lambda q: q.weight.detach().numpy().__setitem__((..., 0, 0), 5.0),
    "moving averages": lambda q: q(draw(70, 16, seed=26), update=True),
    "an optimizer": lambda q: torch.optim.SGD([nn.Parameter(q.weight)], 0.1) and q.weight.data.mul_(0.9),
    "load_state_dict": lambda q: q.load_state_dict(
        {name: value + 0.25 if name == "weight" else value for name, value in q.state_dict().items()}
    ),
    "reset_parameters": lambda q: q.reset_parameters(),
    "another dtype and back": _double_and_back,
    "half, which keeps the codebook float32": lambda q: q.half().weight.data.mul_(1.5),
    "not a number": lambda q: q.weight.data[..., 2, :].fill_(torch.nan),
}


@pytest.mark.parametrize("kind", ["moving averages", "cosine, gradient", "groups"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_goes_unseen(change: str, kind: str) -> None:
    quantizer, x = build(kind).eval(), draw(200, 16, seed=27)
    quantizer.weight.data[..., -1, :] = 0.0
    for _ in range(2):
        outcome(quantizer, x)
    CHANGES[change](quantizer)
    for _ in range(2):
        for found, expected in zip(outcome(quantizer, x), unkept(quantizer, x), strict=True):
            assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_course_of_calls_and_writes(data: st.DataObject) -> None:
    quantizer = build(data.draw(st.sampled_from(sorted(KINDS))), size=data.draw(st.integers(5, 30))).eval()
    for step in range(data.draw(st.integers(2, 8))):
        what = data.draw(st.sampled_from(["look", "look", "write", "train", "toggle", "copy"]))
        if what == "look":
            x = draw(20, 16, seed=step)
            assert all(torch.equal(*pair) for pair in zip(outcome(quantizer, x), unkept(quantizer, x), strict=True))
        elif what == "write":
            place = data.draw(st.integers(0, quantizer.weight.numel() - 1))
            quantizer.weight.data.reshape(-1)[place] += 1.0
        elif what == "train":
            quantizer(draw(20, 16, seed=step), update=True)
        elif what == "toggle":
            quantizer.train().eval()
        else:
            quantizer = copy.deepcopy(quantizer)


@native
def test_what_is_kept_stays_out_of_sight() -> None:
    quantizer, x = build("moving averages", size=3000), draw(9, 16, seed=28)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    size = len(pickle.dumps(quantizer))
    quantizer.eval()
    outcome(quantizer, x)
    assert quantizer._last_codebook._kept is not None
    after = quantizer.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert len(list(quantizer.buffers())) == len(before) and not list(quantizer.parameters())
    assert len(pickle.dumps(quantizer)) <= size + 100
    again = pickle.loads(pickle.dumps(quantizer))
    assert again._last_codebook._kept is None and torch.equal(again(x).indices, quantizer(x).indices)
    file = io.BytesIO()
    torch.save(quantizer.state_dict(), file)
    file.seek(0)
    quantizer.load_state_dict(torch.load(file, weights_only=True))
    quantizer.train()
    assert quantizer._last_codebook._kept is None  # nothing is held while training


@native
def test_several_threads_share_it() -> None:
    quantizer, x = build("moving averages", size=300).eval(), draw(40, 16, seed=29)
    books = [draw(300, 16, seed=30 + i) for i in range(2)]
    expected = []
    for book in books:
        quantizer.weight.data.copy_(book)
        expected.append(quantizer(x).indices)
    failures: list[str] = []
    gate = threading.Barrier(4)

    def work() -> None:
        for turn in range(12):
            if gate.wait() == 0:
                quantizer.weight.data.copy_(books[turn % 2])
            gate.wait()
            if not all(torch.equal(quantizer(x).indices, expected[turn % 2]) for _ in range(3)):
                failures.append(f"turn {turn}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@native
@pytest.mark.parametrize("kind", ["candidates", "cosine, gradient", "gradient"])
def test_gradients_of_a_codebook_that_is_kept(kind: str) -> None:
    """Evaluation under autograd: what was packed without it does not cut the codebook off."""
    quantizer, x = build(kind).eval(), draw(30, 16, seed=33)
    with torch.inference_mode():
        outcome(quantizer, x)
    gradients = []
    for keeping in (contextlib.nullcontext(), keeping_nothing()):
        rows = x.clone().requires_grad_()
        with keeping:
            found = quantizer(rows)
        total = found.loss + found.quantized.sin().sum()
        total = total if found.weights is None else total + found.weights.square().sum()
        gradients.append(torch.autograd.grad(total, (rows, quantizer.weight)))
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_a_compiled_module_sees_changes_too() -> None:
    quantizer, x = build("moving averages", size=300).eval(), draw(40, 16, seed=34)
    torch.compiler.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="eager")
    for turn in range(3):
        outcome(quantizer, x)
        quantizer.weight.data.copy_(draw(300, 16, seed=35 + turn))
        assert torch.equal(compiled(x).indices, unkept(quantizer, x)[1])


def test_fake_tensors_have_nothing_to_compare() -> None:
    with FakeTensorMode():
        quantizer, x = build("moving averages").eval(), torch.randn(7, 16)
        assert quantizer(x).indices.shape == (7,)
    assert not LastCodebook.serves(quantizer.weight, x, "auto")  # outside the mode that made them
    assert LastCodebook.serves(torch.zeros(4, 16), torch.zeros(7, 16), "auto") == (cpu.cpu_missing() is None)


class Indices(nn.Module):
    def __init__(self, quantizer: VectorQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer(x).indices


@native
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traces_and_transforms_do_not_bake_it_in() -> None:
    quantizer, x = build("gradient", size=300).eval(), draw(40, 16, seed=38)
    outcome(quantizer, x)
    traced = [make_fx(lambda x: quantizer(x).indices)(x), torch.jit.trace(Indices(quantizer), x)]
    weights = {"weight": draw(300, 16, seed=39)}
    swapped = torch.func.functional_call(quantizer, weights, x)
    slope = torch.func.grad(lambda w: torch.func.functional_call(quantizer, w, x).loss)(weights)["weight"]
    quantizer.weight.data.copy_(weights["weight"])
    expected = unkept(quantizer, x)[1]
    assert torch.equal(swapped.indices, expected)
    assert torch.equal(slope, torch.autograd.grad(quantizer(x).loss, quantizer.weight)[0])
    assert all(torch.equal(graph(x), expected) for graph in traced)
