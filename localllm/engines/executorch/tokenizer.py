"""The tokenizer of a repository on the hub, through the library `tokenizers`."""

from collections.abc import Iterable, Mapping
from typing import Protocol, Self, cast

from tokenizers import Tokenizer as Native

from localllm.engines.executorch.hub_files import AGAIN, HubFiles
from localllm.engines.executorch.special_tokens import SpecialTokens, read_special_tokens
from localllm.engines.executorch.tokenizer_json import NAME, TokenizerJson
from localllm.errors import EngineError, LoadFailed

_OTHER_FORMS = ("tokenizer.model", "spiece.model", "tekken.json", "vocab.json", "vocab.txt")
_PANIC = "PanicException"  # of pyo3, which derives it from BaseException and does not export it


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _Encoder(Protocol):
    def encode(self, sequence: str, *, add_special_tokens: bool) -> _Encoding: ...


class HubTokenizer:
    """A tokenizer.json of byte pairs; see Tokenizer. Safe to use from any thread: nothing changes after `load`.

    It holds two encoders, one that knows control tokens and one that does not: the library's own switch between the
    two (`encode_special_tokens`) is for all threads at once, and hides plain tokens whose text is in a control token's.
    """

    def __init__(self, document: TokenizerJson, special: SpecialTokens) -> None:
        self._names = _encoder(document.reading_names())
        self._text = _encoder(document.reading_text())
        self._pieces = document.pieces()
        self._special = special
        self.vocab_size = document.size
        self.end_tokens = special.ends
        self.bos = special.bos
        self.eos = special.eos
        self.chat_template = special.chat_template

    @classmethod
    def load(cls, beside: Mapping[str, str], *, end_tokens: Iterable[int] = (), bos_token: int | None = None) -> Self:
        """Read tokenizer.json and what says more of it, those files that there are; `beside` are paths by name.

        More is said by tokenizer_config.json, special_tokens_map.json, generation_config.json and chat_template.jinja.
        `end_tokens` and `bos_token` are what the model itself says: the former end answers too, the latter counts
        where no file names a BOS token.

        Raises LoadFailed, naming the file, for one that is missing, broken or larger than any, for tokenizers of
        which it is not known what bytes their tokens stand for, and for ids that the vocabulary does not have.
        """
        files = HubFiles(beside)
        if NAME not in files:
            others = [name for name in _OTHER_FORMS if name in files]
            there = f" ({others[0]} is not read)" if others else ""
            raise LoadFailed(f"there is no {NAME} beside the model{there}; get the one of the model it was made from")
        document = TokenizerJson(files.text(NAME))
        special = read_special_tokens(files, document, end_tokens=end_tokens, bos_token=bos_token)
        return cls(document, special)

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; see Tokenizer. Raises EngineError for a text that the library fails at."""
        encoder = self._names if parse_special else self._text
        whole = text.encode("utf-8", "replace").decode("utf-8")  # without halves of surrogate pairs
        try:
            ids = encoder.encode(whole, add_special_tokens=False).ids
        except BaseException as error:
            if not _is_of_library(error):
                raise
            raise EngineError(f"the tokenizer failed at a text of {len(text)} letters: {_line(error)}") from error
        return [*self._special.before, *ids, *self._special.behind] if add_special else list(ids)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; b"" also for ids that models have in excess of their tokens."""
        return self._pieces[token] if 0 <= token < self.vocab_size else b""


def _encoder(document: str) -> _Encoder:
    try:
        return cast(_Encoder, Native.from_str(document))
    except BaseException as error:
        if not _is_of_library(error):
            raise
        raise LoadFailed(f"{NAME} is not as it should be: {_line(error)}; {AGAIN}") from error


def _is_of_library(error: BaseException) -> bool:
    """Whether it is what the library says of a document or a text: it raises plain exceptions, and panics."""
    return isinstance(error, Exception) or type(error).__name__ == _PANIC


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
