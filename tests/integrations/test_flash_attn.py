"""``flash_attn_varlen_func`` against attention of each document by itself."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.integrations.flash_attn import flash_attn_varlen_func
from gptface.ops import masked_attention
from tests.ops.attention_cases import dense_attention

QUERIES, KEYS = torch.tensor([0, 5, 5, 9, 16]), torch.tensor([0, 7, 10, 14, 19])


def draw(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(18, 4, 16), (19, 2, 16), (19, 2, 16)]  # two rows after the last document
    query, key, value = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    return query, key, value


def by_document(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool, window: tuple[int, int]):  # type: ignore[no-untyped-def]
    pieces = []
    for d in range(4):
        rows, columns = slice(*QUERIES[d : d + 2].tolist()), slice(*KEYS[d : d + 2].tolist())
        q, k, v = query[None, rows], key[None, columns], value[None, columns]
        position = torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1]
        keys = torch.arange(k.shape[1])
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool)
        if causal:
            seen &= keys <= position
        if window[0] >= 0:
            seen &= keys >= position - window[0]
        if window[1] >= 0:
            seen &= keys <= position + window[1]
        if q.shape[1]:
            pieces.append(dense_attention(q, k, v, seen[None], 0.25)[0][0])
    return torch.cat([*pieces, torch.zeros(2, 4, 16)])


@pytest.mark.parametrize(("causal", "window"), [(False, (-1, -1)), (True, (-1, -1)), (True, (2, 0)), (False, (1, 2))])
def test_each_document_by_itself(causal: bool, window: tuple[int, int]) -> None:
    query, key, value = draw()
    out = flash_attn_varlen_func(query, key, value, QUERIES, KEYS, 7, 7, causal=causal, window_size=window)
    expected = by_document(query, key, value, causal, window)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    for got, want in zip(
        torch.autograd.grad(out, (query, key, value), grad),
        torch.autograd.grad(expected, (query, key, value), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 12, 59, 255])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_a_head_dimension_that_is_no_multiple_of_8_is_not_refused(width: int, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(4)
    query, key, value = (
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in [(7, 4, width), (9, 2, width), (9, 2, width)]
    )
    one = torch.tensor([0, 7]), torch.tensor([0, 9])
    out = flash_attn_varlen_func(query, key, value, *one, causal=True, softmax_scale=scale)
    seen = torch.arange(9) <= torch.arange(7)[:, None] + 2
    expected = dense_attention(
        query[None], key[None], value[None], seen[None], width**-0.5 if scale is None else scale
    )[0][0]  # fmt: skip
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn(out.shape, generator=generator)
    for got, want in zip(
        torch.autograd.grad(out, (query, key, value), grad),
        torch.autograd.grad(expected, (query, key, value), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_dropout_draws_from_the_generator_unless_given_a_seed() -> None:
    query, key, value = draw()

    def run(**options: object) -> torch.Tensor:
        return flash_attn_varlen_func(query, key, value, QUERIES, KEYS, dropout_p=0.5, **options)  # type: ignore[arg-type]

    torch.manual_seed(3)
    first = run()
    assert not torch.equal(first, run())
    torch.manual_seed(3)
    assert torch.equal(first, run())
    assert torch.equal(run(seed=5), run(seed=5))


def test_no_synchronisation_is_needed_to_compile() -> None:
    query, key, value = draw()
    compiled = torch.compile(flash_attn_varlen_func, backend="eager", fullgraph=True)
    expected = flash_attn_varlen_func(query, key, value, QUERIES, KEYS, causal=True)
    torch.testing.assert_close(compiled(query, key, value, QUERIES, KEYS, causal=True), expected)


def test_one_document_is_plain_attention() -> None:
    query, key, value = draw()
    one = torch.tensor([0, 18]), torch.tensor([0, 19])
    out = flash_attn_varlen_func(query, key, value, *one)
    torch.testing.assert_close(out, masked_attention(query[None], key[None], value[None])[0])


def test_what_is_not_here_is_refused_by_name() -> None:
    query, key, value = draw()
    with pytest.raises(InputError, match="no softcap, alibi_slopes"):
        flash_attn_varlen_func(query, key, value, QUERIES, KEYS, softcap=1.0, alibi_slopes=torch.zeros(4))
    with pytest.raises(InputError, match=r"cu_seqlens_q and cu_seqlens_k must be of one length, got \(5,\) and \(3,\)"):
        flash_attn_varlen_func(query, key, value, QUERIES, KEYS[:3])
    with pytest.raises(InputError, match=r"q must be \(total, heads, D\), got \(1, 18, 4, 16\)"):
        flash_attn_varlen_func(query[None], key, value, QUERIES, KEYS)
