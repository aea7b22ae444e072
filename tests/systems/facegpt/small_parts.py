"""A tokenizer, a model and conversations small enough for every test of FaceGPT."""

from __future__ import annotations

from typing import Any

import torch

from gptface.data.text import train_text_tokenizer
from gptface.systems.facegpt import ConversationTokens, FaceGPT, FaceGPTConfig
from gptface.systems.facegpt.data.conversations import FACE, Conversation, Turn, spoken

PICTURED = Conversation.of("Reconstruct this face in 3D.", f"Here is the face: {FACE}.", image=True)
SCULPTED = Conversation.of("Sculpt an astonished man.", f"{FACE}", shapes={"jawOpen": 0.6})
PLAIN = Conversation(
    (
        Turn("human", "What is the opposite of hot?"),
        Turn("assistant", "Cold."),
        Turn("human", "And of cold?"),
        Turn("assistant", "Hot."),
    )
)
CONVERSATIONS = (PICTURED, SCULPTED, PLAIN)


def small_tokens(max_text_length: int = 64) -> ConversationTokens:
    tokenizer = train_text_tokenizer([*spoken(CONVERSATIONS)] * 2, 200)
    return ConversationTokens(tokenizer, num_patches=16, max_text_length=max_text_length)


def small_model(tokens: ConversationTokens, **overrides: Any) -> FaceGPT:
    torch.manual_seed(0)
    shape = {"vocab_size": len(tokens), "max_text_length": tokens.max_text_length, **tokens.ids}
    config = FaceGPTConfig.tiny(**shape, **overrides)
    model = FaceGPT(config).eval()
    with torch.no_grad():  # a head that says something
        model.face_head.last.weight.normal_(std=0.1)
    return model
