"""Which family a checkpoint is of."""

from collections.abc import Mapping

from localllm.convert.families.base import Family
from localllm.convert.families.gemma import GEMMA2, GEMMA3
from localllm.convert.families.granite import GRANITE
from localllm.convert.families.llama import LLAMA, MISTRAL
from localllm.convert.families.phi3 import PHI3
from localllm.convert.families.qwen import QWEN2, QWEN3
from localllm.convert.families.smollm3 import SMOLLM3
from localllm.errors import LoadFailed

FAMILIES = (LLAMA, MISTRAL, SMOLLM3, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3, GRANITE)

_BY_CLASS: Mapping[str, Family] = {name: family for family in FAMILIES for name in family.classes}

# What parts of names of classes say; the first that is found counts.
_KINDS = {
    "Hybrid": "a mix of attention and state spaces",
    "Mamba": "a state-space model",
    "Next": "a mix of attention and linear attention",
    "Moe": "a mixture of experts",
    "MoE": "a mixture of experts",
    "Mixtral": "a mixture of experts",
    "ForConditionalGeneration": "a model of more than text",
    "VL": "a model of more than text",
    "Classification": "a model that makes no text",
    "QuestionAnswering": "a model that makes no text",
    "TextModel": "a model without its last layer",
}


def family_of(model_class: str) -> Family:
    """The family of a class of transformers, such as LlamaForCausalLM. Raises LoadFailed, naming what is known."""
    family = _BY_CLASS.get(model_class)
    if family is None:
        kind = next((f", {kind}," for part, kind in _KINDS.items() if part in model_class), "")
        raise LoadFailed(
            f"{model_class[:80]}{kind} is not converted; known are {', '.join(_BY_CLASS)}. "
            "Look for a GGUF of this model instead"
        )
    return family
