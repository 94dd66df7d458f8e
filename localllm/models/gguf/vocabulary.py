"""The vocabulary arrays of a GGUF header, which llama.cpp reads with no look, or an abort, at their types."""

from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.metadata import ArrayInfo, Metadata

TOKENS = "tokenizer.ggml.tokens"
_ELEMENT_TYPES = {
    TOKENS: {"string"},
    "tokenizer.ggml.merges": {"string"},
    "tokenizer.ggml.scores": {"float32", "int32"},
    "tokenizer.ggml.token_type": {"int32", "uint32"},
    "tokenizer.ggml.precompiled_charsmap": {"int8", "uint8"},
}
_ONE_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")


def check_vocabulary(metadata: Metadata) -> None:
    """Refuse arrays that are of another type, or shorter than the tokens that they tell of. Raises LoadFailed.

    llama-vocab.cpp reads scores and token types through a pointer cast: of single bytes it would read beyond them.
    """
    for key, element_types in _ELEMENT_TYPES.items():
        value = metadata.get(key)
        if value is not None and not (isinstance(value, ArrayInfo) and value.element_type in element_types):
            raise damaged(f"the value of {key} is not an array of {' or '.join(sorted(element_types))}")
    tokens = vocabulary_tokens(metadata)
    for key in _ONE_PER_TOKEN:
        value = metadata.get(key)
        if isinstance(value, ArrayInfo) and value.count < tokens:
            raise damaged(f"{key} tells of {value.count} tokens, there are {tokens}")


def vocabulary_tokens(metadata: Metadata) -> int:
    """How many tokens the header lists; 0 where it lists none."""
    value = metadata.get(TOKENS)
    return value.count if isinstance(value, ArrayInfo) else 0
