"""Tiny random models of other people's classes, with tokenizers and processors, for the adapter's tests."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gptface.morphable import MorphableModel
from tests.morphable.files import ball

WORDS = ["please", "make", "a", "face", "smile", "open", "mouth", "wide", "here", "is", "the", ":", ".", "?", "!"]
WORDS += ["USER", "ASSISTANT", "what", "do", "you", "see", "3D", "no", "yes", "user", "assistant"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
SPECIAL += ["<|video_pad|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.content is string %}{{ m.content }}"
    "{% else %}{% for part in m.content %}{% if part.type == 'image' %}PICTURE{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
"""In the way of Qwen; parts of a message as text or as a list."""
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.25,  # wide enough for a frozen head to be sure of a word
}
CLASSES = ("llama", "tied", "gpt2", "llava", "qwen2_vl")
SIDE = 16


def tokenizer(template: str | None = None) -> Any:
    """A tokenizer of whole words; ``<s>`` before every text."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **names)
    made.add_tokens(SPECIAL[4:], special_tokens=True)
    made.chat_template = template
    return made


def base(kind: str, *, spare: int = 0, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A model in evaluation mode whose vocabulary is the tokenizer's, and ``spare`` rows."""
    torch.manual_seed(seed)
    vocabulary = {"vocab_size": len(tokenizer()) + spare}
    if kind == "gpt2":
        config: Any = transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, **vocabulary
        )
    elif kind == "llava":
        vision = transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
        )
        text = transformers.LlamaConfig(**SMALL, **vocabulary)
        config = transformers.LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=SPECIAL.index("<image>")
        )
    elif kind == "qwen2_vl":
        ids = {
            "image_token_id": SPECIAL.index("<|image_pad|>"),
            "video_token_id": SPECIAL.index("<|video_pad|>"),
            "vision_start_token_id": SPECIAL.index("<|vision_start|>"),
            "vision_end_token_id": SPECIAL.index("<|vision_end|>"),
        }
        vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
        rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
        text = {**SMALL, **vocabulary, "rope_parameters": rope}
        config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
    else:
        config = transformers.LlamaConfig(**SMALL, **vocabulary, tie_word_embeddings=kind == "tied")
    sees = kind in ("llava", "qwen2_vl")
    kinds = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    return kinds.from_config(config, dtype=dtype).eval()


class QwenPictures(transformers.Qwen2VLProcessor):  # type: ignore[misc]
    """Qwen2-VL's processor without videos, whose part needs torchvision."""

    def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
        return None if name == "video_processor" else super().check_argument_for_proper_class(name, argument)

    def save_pretrained(self, folder: Any, **options: Any) -> None:
        self.tokenizer.save_pretrained(folder)


def processor(kind: str, *, template: bool = False) -> Any:
    """What turns words, and pictures where the model sees, into inputs."""
    picture = "<|vision_start|><|image_pad|><|vision_end|>" if kind == "qwen2_vl" else "<image>"
    words = tokenizer(TEMPLATE.replace("PICTURE", picture) if template else None)
    chat = {"chat_template": words.chat_template}
    if kind == "llava":
        side = {"height": SIDE, "width": SIDE}
        pictures: Any = transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side)
        return transformers.LlavaProcessor(
            pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
            **chat,
        )
    if kind == "qwen2_vl":
        pictures = transformers.Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=256)
        return QwenPictures(pictures, words, **chat)
    return words


def picture(seed: int = 0) -> Image.Image:
    """A photo of noise."""
    noise = torch.rand(SIDE, SIDE + 4, 3, generator=torch.Generator().manual_seed(seed))
    return Image.fromarray((noise * 255).to(torch.uint8).numpy())


def head(modes: int = 3) -> MorphableModel:
    """A ball with random shapes, for what needs no face."""
    vertices, triangles = ball()
    mean = 8.0 * torch.from_numpy(vertices).float()
    draw = torch.Generator().manual_seed(0)
    shapes = torch.randn(2, modes, len(mean), 3, generator=draw)
    return MorphableModel(
        mean,
        torch.from_numpy(triangles),
        identity_basis=shapes[0],
        expression_basis=shapes[1],
        expression_names=[f"shape{number}" for number in range(modes)],
        expression_kind="blendshape",
    )
