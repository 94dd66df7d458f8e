"""How text is cut before byte pairs are merged: from the name that llama.cpp knows to the steps of a tokenizer.json.

The steps are those of `convert/vocabulary/pre_tokenizers.py`, which goes the other way. llama.cpp has more names for
the same expressions (src/llama-vocab.cpp, `llm_tokenizer_bpe`), since it tells models apart by them.
"""

import json

from msgspec import Struct

from localllm.convert.vocabulary.pre_tokenizers import KNOWN
from localllm.convert.vocabulary.tokenizer_json import Step
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

_LLAMA_3 = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"})
_GLM = frozenset({"chatglm-bpe", "glm4", "glm5"})
_ALIKE: dict[str, frozenset[str]] = {
    "llama-bpe": _LLAMA_3 | {"glm4", "glm5"},
    "dbrx": frozenset({"dbrx", "smaug-bpe", "chatglm-bpe"}),
    "deepseek-v3": frozenset({"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}),
    "gpt-2": frozenset(
        {
            *("gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "mpt", "olmo", "jais", "trillion"),
            "granite-docling",
        }
    ),
    "gpt-4o": frozenset({"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}),
    "qwen2": frozenset(
        {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"}
    ),
    "smollm": frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}),
}


class Cutting(Struct, frozen=True, kw_only=True):
    """What a name of llama.cpp stands for."""

    steps: list[Step]
    ignores_merges: bool  # a word that is a token stays whole, whatever the merges make of it


def cutting(name: str) -> Cutting:
    """The steps of a name. Raises LoadFailed for those that no tokenizer.json is known for."""
    for cut in KNOWN:
        if name in names_alike(cut.name):
            return Cutting(steps=[_step(step) for step in cut.steps], ignores_merges=cut.ignores_merges)
    said = quoted(name) if name else "missing"
    raise LoadFailed(
        f"tokenizer.ggml.pre is {said}, of which it is not known how a tokenizer.json says it; take another model"
    )


def names_alike(name: str) -> frozenset[str]:
    """All names that llama.cpp cuts alike for, by the one that this program writes."""
    return _ALIKE.get(name, frozenset({name}))


def begins_texts(name: str) -> bool:
    """Whether llama.cpp puts a BOS token before texts, where the file does not say."""
    return name in _LLAMA_3 or name in {"tekken", "chameleon"}


def has_no_begin(name: str) -> bool:
    """Whether llama.cpp takes no token for BOS, where the file does not say which."""
    return name in _GLM


def _step(form: str) -> Step:
    step: dict[str, object] = json.loads(form)
    return step | {"trim_offsets": True} if step["type"] == "ByteLevel" else step
