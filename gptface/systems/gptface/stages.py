"""The stages of GPTFace: the image tokenizer, then the transformer on its codes."""

from __future__ import annotations

from gptface.systems.gptface.configuration import Configuration
from gptface.systems.gptface.pairs import tokenizer_identity
from gptface.systems.gptface.pretraining import PretrainingStage
from gptface.systems.gptface.tokenizer_training import TokenizerStage
from gptface.training.declaration import StageDeclaration, StageInput

__all__ = ["PRETRAIN", "STAGES", "TOKENIZER"]

TOKENIZER = StageDeclaration(
    name="tokenizer",
    summary="the image tokenizer",
    example="gptface train tokenizer --config demo --output runs/demo/tokenizer",
    configuration=Configuration,
    build=TokenizerStage,
    inputs=(
        StageInput(
            "tokenizer",
            "a trained tokenizer whose decoder alone learns on: its codes keep their meaning",
            required=False,
        ),
        StageInput("parser", "a trained parser, for tokenizer.losses.features", required=False),
    ),
    identify={"tokenizer": tokenizer_identity, "parser": tokenizer_identity},
)
PRETRAIN = StageDeclaration(
    name="pretrain",
    summary="the face-language transformer, on the codes of a trained tokenizer",
    example="gptface train pretrain --config demo --tokenizer runs/demo/tokenizer --output runs/demo/system "
    "pretrain.steps=500 pretrain.learning_rate=5e-4",
    configuration=Configuration,
    build=PretrainingStage,
    inputs=(
        StageInput("tokenizer", "a trained tokenizer or its run's folder"),
        StageInput("parser", "a trained parser to put into the system", required=False),
    ),
    identify={"tokenizer": tokenizer_identity},
)
STAGES = (TOKENIZER, PRETRAIN)
