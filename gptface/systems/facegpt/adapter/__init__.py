"""The adapter: any causal or vision–language model of ``transformers`` with ``<FACE>``, a face head and LoRA."""

from __future__ import annotations

from gptface.systems.facegpt.adapter.emission import FaceOnce
from gptface.systems.facegpt.adapter.model import AdapterOutput, FaceAdapter, Generated
from gptface.systems.facegpt.adapter.objective import AdapterObjective, known_shapes
from gptface.systems.facegpt.adapter.saving import is_adapter, load_adapter, push_adapter_to_hub, save_adapter
from gptface.systems.facegpt.adapter.system import AdapterSystem
from gptface.systems.facegpt.adapter.words import ConversationEncoder

__all__ = [
    "AdapterObjective",
    "AdapterOutput",
    "AdapterSystem",
    "ConversationEncoder",
    "FaceAdapter",
    "FaceOnce",
    "Generated",
    "is_adapter",
    "known_shapes",
    "load_adapter",
    "push_adapter_to_hub",
    "save_adapter",
]
