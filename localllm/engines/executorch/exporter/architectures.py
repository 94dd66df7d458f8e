"""The architectures that can be exported, by their names in GGUF, and how each differs from a plain Llama.

Graphs are those of llama.cpp (src/models/*.cpp) on the one side and of ExecuTorch (`AttentionMHA` in
examples/models/llama/attention.py) on the other.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct


class Architecture(Struct, frozen=True, kw_only=True):
    """How a model of it is computed."""

    name: str  # general.architecture
    pairs_neighbours: bool  # rotates numbers 2i and 2i + 1 of a head (LLAMA_ROPE_TYPE_NORM), not i and i + half
    has_head_norms: bool = False  # queries and keys are normalized, head by head, before they are rotated
    unrotated_interval: int = 0  # every so many layers one has no rotation, the last of them; 0: all have
    has_scales: bool = False  # Granite's four multipliers


# Which rotation: llama_model_rope_type in src/llama-model.cpp. SmolLM3's interval: src/models/smollm3.cpp.
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            Architecture(name="llama", pairs_neighbours=True),
            Architecture(name="qwen2", pairs_neighbours=False),
            Architecture(name="qwen3", pairs_neighbours=False, has_head_norms=True),
            Architecture(name="smollm3", pairs_neighbours=True, unrotated_interval=4),
            Architecture(name="granite", pairs_neighbours=True, has_scales=True),
        )
    }
)
