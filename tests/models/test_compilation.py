"""No graph break and no host synchronisation: sequences, model and tokenizer trace whole, with sizes left open."""

from __future__ import annotations

import torch

from gptface.models import FaceTokenizer, FaceTokenizerConfig
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, build_sequence


def test_a_sequence_and_the_model_trace_as_one_graph() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(
        FaceLanguageConfig.tiny(hidden_size=32, num_attention_heads=2, intermediate_size=64, num_hidden_layers=2)
    )

    def run(text: torch.Tensor, lengths: torch.Tensor, codes: torch.Tensor, regimes: torch.Tensor) -> torch.Tensor:
        sequence = build_sequence(model.vocabulary, text, lengths, codes, regimes)
        hidden = model.forward_sequence(sequence)
        return model.image_logits(hidden).mean() + model.match_logits(hidden).sum()

    compiled = torch.compile(run, backend="eager", fullgraph=True, dynamic=True)
    for batch, capacity in ((3, 7), (5, 11)):
        arguments = (
            torch.randint(5, 1000, (batch, capacity)),
            torch.randint(0, capacity + 1, (batch,)),
            torch.randint(0, 257, (batch, 64)),
            torch.randint(0, 3, (batch,)),
        )
        torch.testing.assert_close(compiled(*arguments), run(*arguments))


def test_the_tokenizer_traces_as_one_graph() -> None:
    torch.manual_seed(0)
    model = FaceTokenizer(FaceTokenizerConfig.tiny()).train()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    model(images)  # the k-means start is over
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert compiled(images).reconstruction.shape == images.shape
    model.eval()
    torch.testing.assert_close(compiled(images).codes, model.encode(images))
