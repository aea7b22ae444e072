"""Models of ``transformers`` with caches, in compiled training and with a user's masks: the results of ``sdpa``."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gptface.integrations import transformers_attention
from gptface.ops import IntervalMask

WORDS: dict[str, Any] = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL: dict[str, Any] = {**SIZES, "intermediate_size": 96, **WORDS}
BART = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96}
BART_HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 2}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4}
MODELS: dict[str, Any] = {
    "Llama": transformers.LlamaConfig(**SMALL, num_key_value_heads=2),
    "Mistral": transformers.MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=4),
    "GPT2": transformers.GPT2Config(**GPT2, **WORDS, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0),
    "GPTNeoX": transformers.GPTNeoXConfig(**SMALL),
    "Phi": transformers.PhiConfig(**SMALL),
    "OPT": transformers.OPTConfig(**SIZES, ffn_dim=96, word_embed_proj_dim=64, **WORDS, dropout=0.0),
    "Bart": transformers.BartConfig(**BART, **BART_HEADS, **WORDS),
}
DECODERS = [name for name in MODELS if name != "Bart"]
SEQUENCE = 37  # a prime, so that a square of it is found in a graph
PREFIX = IntervalMask.prefix_lm(torch.tensor([4, 2]), torch.tensor([SEQUENCE, SEQUENCE]), SEQUENCE)


def pair(name: str) -> tuple[Any, Any]:
    """One model with ``sdpa`` and one with gptface's attention, of equal weights."""
    torch.manual_seed(0)
    kind = transformers.AutoModelForSeq2SeqLM if name == "Bart" else transformers.AutoModelForCausalLM
    config = copy.deepcopy(MODELS[name])
    wanted = kind.from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()
    ours = kind.from_config(config, attn_implementation=transformers_attention.NAME).eval()
    ours.load_state_dict(wanted.state_dict())
    return wanted, ours


def words(length: int) -> Tensor:
    return torch.randint(3, 60, (2, length), generator=torch.Generator().manual_seed(1))


def positions(name: str, first: int, end: int) -> dict[str, Tensor]:
    """OPT counts positions in its mask, which only a padding mask has."""
    return {"position_ids": torch.arange(first, end).expand(2, -1)} if name == "OPT" else {}


@pytest.fixture
def backend() -> Iterator[Any]:
    """Keeps the graphs that are compiled with it."""
    torch.compiler.reset()

    class Backend:
        def __init__(self) -> None:
            self.graphs: list[torch.fx.GraphModule] = []

        def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Any:
            self.graphs.append(graph)
            return graph.forward

    yield Backend()
    torch.compiler.reset()


def generated(model: Any, padding: Tensor | None, cache: str | None) -> Tensor:
    options = {} if cache is None else {"cache_implementation": cache}
    return model.generate(
        words(9), attention_mask=padding, max_new_tokens=6, min_new_tokens=6, do_sample=False, num_beams=1, **options
    )


LEFT = (torch.arange(9) >= torch.tensor([[0], [3]])).long()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cache", ["static", None])
def test_generation_gives_the_tokens_of_sdpa(name: str, cache: str | None) -> None:
    wanted, ours = pair(name)
    for padding in (None, LEFT):
        assert torch.equal(generated(ours, padding, cache), generated(wanted, padding, cache))


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Bart"])
def test_compiled_generation_with_a_static_cache_gives_the_tokens_of_sdpa(name: str, backend: Any) -> None:
    wanted, ours = pair(name)
    tokens = generated(wanted, LEFT, "static")
    ours.forward = torch.compile(ours.forward, fullgraph=True, backend=backend)
    assert torch.equal(generated(ours, LEFT, "static"), tokens)
    assert len(backend.graphs) == 2  # the prompt, and one token after another


def loss_and_gradients(model: Any, call: Any, ids: Tensor, **inputs: Any) -> list[Tensor]:
    model.zero_grad()
    logits = call(ids, use_cache=False, **inputs).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    return [loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def restarting(*lengths: int) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths]).expand(2, -1)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "GPTNeoX"])
def test_compiled_training_without_a_mask_or_with_packed_positions_takes_no_square_memory(
    name: str, backend: Any
) -> None:
    wanted, ours = pair(name)
    compiled = torch.compile(ours.train(), fullgraph=True, backend=backend)
    ids = words(SEQUENCE)
    graphs = []
    for inputs in ({}, {"position_ids": restarting(20, 17)}, {"position_ids": restarting(5, 32)}):
        expected = loss_and_gradients(wanted.train(), wanted, ids, **inputs)
        for got, want in zip(loss_and_gradients(ours, compiled, ids, **inputs), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        graphs.append(len(backend.graphs))
    assert graphs == [1, 2, 2]  # other documents are other values only
    for graph in backend.graphs:
        values = [node.meta.get("example_value") for node in graph.graph.nodes]
        shapes = [tuple(value.shape) for value in values if isinstance(value, Tensor)]
        assert shapes and not [shape for shape in shapes if shape.count(SEQUENCE) > 1]


@pytest.mark.parametrize("name", ["Llama", "Mistral"])
def test_one_compilation_serves_texts_of_any_length(name: str, backend: Any) -> None:
    wanted, ours = pair(name)
    compiled = torch.compile(ours, fullgraph=True, dynamic=True, backend=backend)
    for length in (11, 17, 40):
        got, want = compiled(words(length), use_cache=False).logits, wanted(words(length), use_cache=False).logits
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert len(backend.graphs) == 1


@pytest.mark.parametrize("name", DECODERS)
def test_an_interval_mask_as_attention_mask(name: str) -> None:
    wanted, ours = pair(name)
    ids, where = words(SEQUENCE), positions(name, 0, SEQUENCE)
    expected = loss_and_gradients(wanted, wanted, ids, attention_mask=PREFIX.to_dense()[:, None], **where)
    for got, want in zip(loss_and_gradients(ours, ours, ids, attention_mask=PREFIX, **where), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_an_interval_mask_as_attention_mask_of_a_compiled_model(name: str, backend: Any) -> None:
    wanted, ours = pair(name)
    compiled = torch.compile(ours, fullgraph=True, backend=backend)
    ids, lengths = words(SEQUENCE), torch.tensor([SEQUENCE, SEQUENCE])
    for prefixes in ([4, 2], [0, 20]):
        mask = IntervalMask.prefix_lm(torch.tensor(prefixes), lengths, SEQUENCE)
        expected = loss_and_gradients(wanted, wanted, ids, attention_mask=mask.to_dense()[:, None])
        for got, want in zip(loss_and_gradients(ours, compiled, ids, attention_mask=mask), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert len(backend.graphs) == 1


def test_an_interval_mask_as_attention_mask_of_encoders() -> None:
    ids = words(11)
    mask = IntervalMask.packed(document_ids=torch.tensor([0] * 4 + [1] * 7)).to_dense()
    both = IntervalMask.from_dense(mask.expand(2, -1, -1))
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL)
    wanted = transformers.BertModel._from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()
    ours = transformers.BertModel._from_config(config, attn_implementation=transformers_attention.NAME).eval()
    ours.load_state_dict(wanted.state_dict())
    want = wanted(ids, attention_mask=both.to_dense()[:, None]).last_hidden_state
    torch.testing.assert_close(ours(ids, attention_mask=both).last_hidden_state, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "Mistral"])  # whose cache drops keys
@pytest.mark.parametrize("fixed", [False, True], ids=["growing", "static"])
def test_an_interval_mask_beside_a_cache(name: str, fixed: bool) -> None:
    wanted, ours = pair(name)
    ids = words(SEQUENCE)
    want = wanted(ids, attention_mask=PREFIX.to_dense()[:, None], **positions(name, 0, SEQUENCE)).logits
    config = ours.config
    cache = transformers.StaticCache(config, max_cache_len=40) if fixed else transformers.DynamicCache(config=config)
    got = []
    for first, end in ((0, 30), (30, 31), (31, SEQUENCE)):
        rows = IntervalMask(PREFIX.intervals[:, first:end].clamp(max=end), end)
        out = ours(ids[:, first:end], attention_mask=rows, past_key_values=cache, **positions(name, first, end))
        got.append(out.logits)
    torch.testing.assert_close(torch.cat(got, 1), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [8, 12, 60])
def test_head_dimensions_that_the_operators_lack(width: int) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**SMALL, "num_attention_heads": 2}, head_dim=width, num_key_value_heads=1)
    wanted = transformers.LlamaForCausalLM._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    ours = transformers.LlamaForCausalLM._from_config(config, attn_implementation="gptface").eval()
    ours.load_state_dict(wanted.state_dict())
    expected = loss_and_gradients(wanted, wanted, words(11))
    for got, want in zip(loss_and_gradients(ours, ours, words(11)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_output_attentions_says_that_there_are_none() -> None:
    _, ours = pair("Llama")
    transformers_attention._say_that_there_are_no_weights.cache_clear()
    with pytest.warns(UserWarning, match="computes no attention weights: output_attentions=True gives none"):
        ours(words(5), output_attentions=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(words(5), output_attentions=True)
