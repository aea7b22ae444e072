"""Masked attention by AMX tiles: the kernels on a tile unit in plain C++, and the real one's machine code.

``test_attention_cpu`` runs over these instruction sets too; here is what is special to tiles of 16 rows and 32 deep,
and to weights that go straight to bfloat16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep
from gptface.ops.native import cpu_amx_missing, cpu_instruction_set, cpu_kernel_missing
from tests.helpers.instruction_sets import TILE_SETS, skip_untried_amx, under_instruction_set
from tests.helpers.machine_code import count, disassembled, loops
from tests.ops.attention_cases import assert_kernel_matches_oracle, draw, random_mask, with_gradients

pytestmark = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")

BFLOAT16 = torch.bfloat16


@pytest.fixture(params=TILE_SETS)
def tiles(request: pytest.FixtureRequest) -> Iterator[str]:
    with under_instruction_set(request.param) as name:
        yield name


@pytest.fixture
def fastest_tiles() -> Iterator[str]:
    """One set that runs here, where the vectors' instructions are not the question."""
    before = cpu_instruction_set()
    for name in ("emulated_amx_avx512_bf16", "emulated_amx"):
        try:
            cpu_instruction_set(name)
            break
        except RuntimeError:
            continue
    yield cpu_instruction_set()
    cpu_instruction_set(before)


def check(inputs: tuple[torch.Tensor, ...], mask: IntervalMask | None, **options: object) -> None:
    label = cpu_instruction_set()
    scale = options.get("scale")
    assert scale is None or isinstance(scale, float)
    assert_kernel_matches_oracle(label, with_gradients(*inputs, mask, impl="cpu", **options), inputs, mask, scale=scale)


def test_bfloat16_goes_by_tiles_and_other_types_do_not(tiles: str) -> None:
    for dtype in (BFLOAT16, torch.float32, torch.float16):
        query, key, value, _ = draw(1, 70, 90, 2, 1, 40, dtype)
        got = masked_attention(query, key, value, impl="cpu")
        cpu_instruction_set("avx512_bf16" if tiles != "emulated_amx" else "portable")
        vectors = masked_attention(query, key, value, impl="cpu")
        cpu_instruction_set(tiles)
        assert torch.equal(got, vectors) == (dtype != BFLOAT16 and tiles != "emulated_amx")


@pytest.mark.parametrize("width", range(16, 257, 8))
def test_every_width(fastest_tiles: str, width: int) -> None:
    check(draw(1, 37, 45, 2, 1, width, BFLOAT16, seed=width), random_mask(1, 37, 45, 1, seed=width))


@pytest.mark.parametrize("keys", [1, 15, 16, 17, 31, 32, 33, 64, 65, 95, 96, 129])
@pytest.mark.parametrize("queries", [1, 16, 17, 33, 129])
def test_lengths_around_tiles(fastest_tiles: str, queries: int, keys: int) -> None:
    inputs = draw(1, queries, keys, 2, 2, 24, BFLOAT16, seed=keys)
    result = with_gradients(*inputs, None, impl="cpu")
    # One key alone leaves gradients of exactly 0, of which no ratio can be taken.
    if keys == 1:
        assert torch.equal(result["out"], inputs[2].expand_as(result["out"]))
        assert not result["grad_query"].any() and not result["grad_key"].any()
    else:
        assert_kernel_matches_oracle(cpu_instruction_set(), result, inputs, None)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize(
    "mask",
    [
        IntervalMask.causal(200),
        IntervalMask.sliding_window(200, 40, global_tokens=9),
        IntervalMask.packed(document_ids=torch.arange(200) // 37, causal=True),
        IntervalMask.shared_prefix(torch.tensor([0] * 70 + [1] * 60 + [2] * 61 + [-1] * 9)),
        IntervalMask.padding(torch.tensor([77, 200]), 200),
    ],
    ids=["causal", "window and sinks", "packed", "shared prefix", "padding"],
)
def test_masks_with_whole_partial_and_hidden_tiles(tiles: str, mask: IntervalMask) -> None:
    check(draw(2, 200, 200, 4, 2, 32, BFLOAT16), mask)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_random_problems(data: st.DataObject) -> None:
    queries, keys = data.draw(st.integers(8, 150)), data.draw(st.integers(8, 300))
    heads, key_heads = data.draw(st.sampled_from([(1, 1), (4, 2), (3, 1)]))
    width, k, seed = 8 * data.draw(st.integers(2, 32)), data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2**31))
    p, scale = data.draw(st.sampled_from([0.0, 0.3])), data.draw(st.sampled_from([1.0, 0.4, -0.7])) * width**-0.5
    inputs = draw(1, queries, keys, heads, key_heads, width, BFLOAT16, seed=seed)
    mask = random_mask(1, queries, keys, k, seed) if k else None
    factor = dropout_keep(torch.tensor(seed), p, 1, heads, queries, keys).double() / (1 - p) if p else None
    with under_instruction_set(data.draw(st.sampled_from(TILE_SETS[:2]))) as chosen:
        result = with_gradients(*inputs, mask, impl="cpu", dropout_p=p, seed=seed, scale=scale)
    assert_kernel_matches_oracle(chosen, result, inputs, mask, scale=scale, factor=factor)


@pytest.mark.parametrize("scale", [-0.3, 1e-3, 0.6])
def test_scales_of_any_sign_and_size(tiles: str, scale: float) -> None:
    check(draw(1, 40, 90, 2, 1, 24, BFLOAT16), random_mask(1, 40, 90, 2, seed=1), scale=scale)


def test_a_scale_of_zero_is_the_mean_of_what_is_seen(tiles: str) -> None:
    query, key, value, _ = draw(1, 40, 64, 2, 2, 16, BFLOAT16)
    mask = IntervalMask.causal(40, 64)
    out, lse = masked_attention(query, key, value, mask, scale=0.0, return_lse=True, impl="cpu")
    count = mask.to_dense()[0].sum(-1)
    torch.testing.assert_close(lse[0, 0], count.log(), rtol=1e-6, atol=1e-6)
    mean = torch.einsum("qk,khd->qhd", mask.to_dense()[0] / count[:, None], value[0].float())
    torch.testing.assert_close(out[0].float(), mean, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("rise", [3.0, 60.0, 3000.0])
def test_maxima_that_rise_from_unit_to_unit(tiles: str, rise: float) -> None:
    """The sums so far are rescaled, or left where the maximum rose by little; each is right."""
    query, key, value, grad = draw(1, 33, 400, 1, 1, 32, BFLOAT16)
    query = query.abs()
    key = (key.abs() * torch.linspace(0.01, rise, 400).view(1, -1, 1, 1)).bfloat16()
    # A weight or two have all of the sum; what is left of the gradients of query and key is rounding.
    inputs = (query, key, value, grad)
    assert_kernel_matches_oracle(tiles, with_gradients(*inputs, None, impl="cpu"), inputs, None, cancelling=True)


def test_log_sum_exp(tiles: str) -> None:
    query, key, value, _ = draw(2, 70, 150, 4, 2, 64, BFLOAT16)
    mask = random_mask(2, 70, 150, 2, seed=3)
    got = masked_attention(query, key, value, mask, return_lse=True, impl="cpu")[1]
    want = masked_attention(*(x.double() for x in (query, key, value)), mask, return_lse=True, impl="reference")[1]
    assert torch.equal(got.isinf(), want.isinf())
    seen = ~want.isinf()
    # Of unrounded weights, though the values have them in bfloat16.
    assert (got[seen] - want[seen]).abs().max() < 2e-5


def test_scores_past_float32_are_nan_and_of_minus_infinity_are_nothing(tiles: str) -> None:
    """A score of +infinity has no softmax, one of −infinity no weight; neither shows in another row."""
    query, key, value, _ = draw(1, 40, 70, 1, 1, 16, BFLOAT16)
    clean = masked_attention(query, key, value, impl="cpu")
    query[0, 5] = 0.0
    query[0, 5, 0, 0] = 1e30
    key[0, :, 0, 0] = key[0, :, 0, 0].sign()
    key[0, 7, 0, 0] = -1.0
    settled = masked_attention(query, key, value, impl="cpu")
    key[0, 7, 0, 0] = -1e30
    small = masked_attention(query, key, value, IntervalMask.full(40, 70), impl="cpu")
    assert small[0, 5].isfinite().all()
    assert torch.equal(small[0, 5], settled[0, 5])
    key[0, 7, 0, 0] = 1e30
    out, lse = masked_attention(query, key, value, return_lse=True, impl="cpu")
    assert out[0, 5].isnan().all() and lse[0, 0, 5].isnan()
    assert clean.isfinite().all()


def test_what_is_wild_does_not_change_the_bits_of_the_rest(tiles: str) -> None:
    """A panel that looks for bad scores computes the same as one that need not."""
    query, key, value, _ = draw(1, 64, 128, 2, 2, 32, BFLOAT16)
    clean = masked_attention(query, key, value, impl="cpu")
    changed = query.clone()
    changed[0, 3, 1] = 1e25
    got = masked_attention(changed, key, value, impl="cpu")
    others = torch.arange(64) != 3
    assert torch.equal(got[0, others], clean[0, others]) and torch.equal(got[0, :, 0], clean[0, :, 0])


@pytest.mark.parametrize("batch", [1, 12])
def test_threads_do_not_show(tiles: str, batch: int) -> None:
    inputs = draw(batch, 130, 300, 4, 2, 16, BFLOAT16)
    mask = random_mask(batch, 130, 300, 2, seed=0)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(with_gradients(*inputs, mask, impl="cpu", dropout_p=0.1, seed=3))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


def test_dropout_is_that_of_the_vector_kernels(tiles: str) -> None:
    """Which weights of one-hot values are zero, for keys past a unit."""
    query, key, _, _ = draw(1, 40, 160, 2, 2, 160, BFLOAT16)
    value = torch.eye(160, dtype=BFLOAT16).view(1, 160, 1, 160).expand(-1, -1, 2, -1)
    out = masked_attention(query, key, value, scale=0.01, dropout_p=0.4, seed=2**40 + 11, impl="cpu")
    keep = dropout_keep(torch.tensor(2**40 + 11), 0.4, 1, 2, 40, 160)
    assert torch.equal(out.transpose(1, 2) != 0, keep)


def test_a_machine_without_amx_says_why() -> None:
    reason = cpu_amx_missing()
    if reason is None:
        skip_untried_amx("amx")
        before = cpu_instruction_set()
        assert cpu_instruction_set("amx") == "amx"
        cpu_instruction_set(before)
    else:
        assert any(word in reason for word in ("processor", "system", "compiler", "Linux"))
        with pytest.raises(RuntimeError, match=re.escape(f"this machine has no amx ({reason})")):
            cpu_instruction_set("amx")


def test_a_product_of_tiles_costs_one_load() -> None:
    """Two by two tiles: four loads and four products an iteration, and sums that stay in their registers."""
    for first in "01":  # sums from zero, and onto what is there
        functions = disassembled(rf"multiply_pair\w*3AmxELb{first}")
        bodies = [body for instructions in functions for body in loops(instructions)]
        products = [body for body in bodies if count(body, "tdpbf16ps")]
        assert (4, 4) in [(count(body, "tileloadd"), count(body, "tdpbf16ps")) for body in products]
        assert not any(count(body, "tilestored") for body in products)


def test_the_softmax_keeps_to_its_registers() -> None:
    """The loop that makes weights of scores: eight or nine instructions for sixteen, none through the stack."""
    found = [
        body
        for instructions in disassembled(r"AttentionAmxForward\w*3Amx\w*go_over_units")
        for body in loops(instructions)
        if count(body, "vcvtps2dq") and not count(body, "vpmuludq")
    ]
    assert found
    for body in found:
        assert count(body, "vcvtps2dq") == 4 and len(body) <= 40
        assert not [line for line in body if re.search(r"\(%r[sb]p", line)]
