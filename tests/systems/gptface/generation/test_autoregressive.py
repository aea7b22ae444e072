from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings, decode_image, decode_text
from gptface.systems.gptface.sequence import Regime, build_sequence
from tests.systems.gptface.generation.systems import tiny_system

MODEL = tiny_system().model
TEXT = torch.randint(5, 60, (4, 8), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([8, 3, 0, 5])
CODES = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(1))


def test_images_are_what_the_prefix_model_would_draw_greedily() -> None:
    codes = decode_image(MODEL, TEXT, LENGTHS, 16, range(4), AutoregressiveSettings(temperature=0))
    # Teacher forcing on the result: every token must be the argmax given all before it.
    sequence = build_sequence(MODEL.vocabulary, TEXT, LENGTHS, codes, Regime.TEXT_TO_IMAGE)
    with torch.no_grad():
        hidden = MODEL.forward_sequence(sequence)
    slots = (sequence.image_slots - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    assert torch.equal(MODEL.image_logits(hidden.gather(1, slots)).argmax(-1), codes)


def test_captions_end_where_the_model_ends_them_and_carry_their_likelihood() -> None:
    decoded = decode_text(MODEL, CODES, range(4), 6, AutoregressiveSettings(temperature=1.5, top_k=None))
    vocabulary = MODEL.vocabulary
    for row, length in enumerate(decoded.lengths.tolist()):
        words = decoded.text_ids[row]
        assert (words[length:] == vocabulary.pad_id).all()
        assert not torch.isin(words[:length], torch.tensor([0, 2, 3, 4])).any()
        sequence = build_sequence(
            vocabulary, words[None, :length], [length], CODES[row : row + 1], Regime.IMAGE_TO_TEXT
        )
        with torch.no_grad():
            logits = MODEL.text_logits(MODEL.forward_sequence(sequence))[0, 17 : 18 + length]
        logits[:, [vocabulary.pad_id, vocabulary.cls_id, vocabulary.mask_id]] = -torch.inf
        wanted = torch.cat([words[:length], torch.tensor([vocabulary.sep_id])])
        expected = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
        assert float(decoded.log_likelihood[row]) == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_same_seed_same_tokens_whatever_the_batch(scale: float) -> None:
    how = AutoregressiveSettings(temperature=1.5, guidance_scale=scale)
    together = decode_image(MODEL, TEXT, LENGTHS, 16, [5, 6, 7, 8], how)
    order = torch.tensor([2, 0, 3, 1])
    permuted = decode_image(MODEL, TEXT[order], LENGTHS[order], 16, [7, 5, 8, 6], how)
    assert torch.equal(permuted, together[order])
    batched = decode_image(
        MODEL.double(), TEXT, LENGTHS, 16, [5, 6, 7, 8], AutoregressiveSettings(1.5, 70, scale, batch_invariant=False)
    )
    alone = decode_image(MODEL, TEXT, LENGTHS, 16, [5, 6, 7, 8], how)
    MODEL.float()
    assert torch.equal(batched, alone)
    words = decode_text(MODEL, CODES, [1, 2, 3, 4], 5, how)
    one = decode_text(MODEL, CODES[2:3], [3], 5, how)
    assert torch.equal(words.text_ids[2:3], one.text_ids)


def test_guidance_follows_the_caption_more() -> None:
    def likelihood(scale: float) -> float:
        codes = decode_image(MODEL, TEXT, LENGTHS, 16, range(4), AutoregressiveSettings(2.0, None, scale))
        sequence = build_sequence(MODEL.vocabulary, TEXT, LENGTHS, codes, Regime.TEXT_TO_IMAGE)
        empty = build_sequence(MODEL.vocabulary, TEXT, LENGTHS * 0, codes, Regime.TEXT_TO_IMAGE)
        total = 0.0
        for sign, built in ((1, sequence), (-1, empty)):
            with torch.no_grad():
                hidden = MODEL.forward_sequence(built)
            slots = (built.image_slots - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            scores = MODEL.image_logits(hidden.gather(1, slots)).log_softmax(-1).gather(-1, codes.unsqueeze(-1))
            total += sign * float(scores.detach().sum())
        return total

    assert likelihood(4.0) > likelihood(1.0)


def test_forbidden_pieces_are_never_drawn() -> None:
    allowed = {20, 21, 3}
    forbidden = [piece for piece in range(64) if piece not in allowed]
    decoded = decode_text(MODEL, CODES, range(4), 8, AutoregressiveSettings(3.0, None), forbidden)
    assert set(decoded.text_ids.flatten().tolist()) <= {0, 20, 21}


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="max_length"):
        decode_text(MODEL, CODES, range(4), 0)
    for wrong in ({"temperature": -1.0}, {"top_k": 0}, {"guidance_scale": -1.0}):
        with pytest.raises(InputError):
            AutoregressiveSettings(**wrong)  # type: ignore[arg-type]
