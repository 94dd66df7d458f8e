"""The tokenizer of a GGUF, through llama.cpp, which is always here.

OpenVINO's own reader knows the text splitting of two families, reads control tokens in any text, and takes no
SentencePiece vocabulary; llama.cpp gives every engine the same ids for the same file.
"""

from localllm.engines.llama_cpp.native import Handle, load_model
from localllm.engines.llama_cpp.tokenizer import LlamaTokenizer


class GgufTokenizer(LlamaTokenizer):
    """The vocabulary of a file whose weights llama.cpp leaves alone."""

    def __init__(self, path: str) -> None:
        """Raises LoadFailed."""
        self._model = load_model((path,), lambda _fraction: None, _leave_weights)
        super().__init__(self._model)


def _leave_weights(params: Handle) -> None:
    params.vocab_only = True
