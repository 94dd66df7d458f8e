"""tokenizer.json: what the library `tokenizers` saves (its Rust source, tokenizer/serialization.rs and models/bpe).

Only byte pairs are read, over bytes (GPT-2, Llama 3, Qwen) or over letters with bytes for the rest (Llama 2, Gemma):
of these it is known which bytes a token stands for.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from localllm.engines.executorch.hub_files import AGAIN, parse
from localllm.errors import LoadFailed
from localllm.models.control_tokens import looks_special, shown_among
from localllm.models.gguf.metadata import quoted

NAME = "tokenizer.json"

_MOST_TOKENS = 2**21  # eight times the largest vocabulary in use; an id makes room for all those below it
_SPACE = "▁"  # stands for a space in sentencepiece's vocabularies
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_UNREAD = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")

TokenId = Annotated[int, Meta(ge=0, lt=_MOST_TOKENS)]
Text = Annotated[str, Meta(min_length=1)]
Step = dict[str, object]  # a normalizer, pre-tokenizer, post-processor or decoder


class AddedToken(Struct, frozen=True, kw_only=True):
    """A token that is cut out of the text before all else."""

    id: TokenId
    content: Text
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


class _Parts(Struct, frozen=True, kw_only=True):
    model: Raw
    added_tokens: list[AddedToken] | None = None
    normalizer: Step | None = None
    pre_tokenizer: Step | None = None
    post_processor: Step | None = None
    decoder: Step | None = None


class _Head(Struct, frozen=True):
    type: str | None = None  # files of before 2020 have none


class _Model(Struct, frozen=True, kw_only=True):
    vocab: dict[Text, TokenId]
    merges: list[str | tuple[str, str]]
    unk_token: str | None = None
    byte_fallback: bool = False
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class TokenizerJson:
    """A tokenizer.json, taken apart. Raises LoadFailed for one that is not right or not of byte pairs."""

    def __init__(self, text: str) -> None:
        self._document = parse(text, dict[str, Raw], NAME)
        parts = parse(text, _Parts, NAME)
        self._raw_model = parse(parts.model, dict[str, Raw], f"{NAME}: model")
        self._model = _read_model(parts.model)
        self.ids = _all_ids(self._model.vocab, parts.added_tokens or [])
        self._added = _settled(parts.added_tokens or [])
        self.control = frozenset(token.content for token in self._added if token.special)
        self.post_processors = tuple(steps(parts.post_processor, "processors"))
        self._is_byte_level = _is_byte_level(parts, has_fallback=self._model.byte_fallback)
        self.size = 1 + max(self.ids.values(), default=-1)
        if not self.size:
            raise LoadFailed(f"{NAME} has no tokens; {AGAIN}")

    def reading_names(self) -> str:
        """The document of a tokenizer that reads the names of control tokens as these tokens."""
        return self._changed(self.ids, self._model.merges, self._added)

    def reading_text(self) -> str:
        """The document of one that does not know control tokens at all, so that no text makes them."""
        ids = {text: place for text, place in self.ids.items() if text not in self.control}
        if self._model.unk_token in self.ids:  # asked for where a letter is no token
            ids[self._model.unk_token] = self.ids[self._model.unk_token]
        merges = [merge for merge in self._model.merges if not _names(merge, self.control)]
        return self._changed(ids, merges, [token for token in self._added if not token.special])

    def pieces(self) -> list[bytes]:
        """The bytes of each token by id; b"" for control tokens and for ids without a token."""
        found = [b""] * self.size
        added = {token.content for token in self._added}
        letters = byte_letters()
        for text, place in self.ids.items():
            if text in self.control:
                continue
            if self._is_byte_level:
                found[place] = text.encode() if text in added else _spelled(text, letters)
            else:
                found[place] = _piece(text, is_added=text in added)
        return found

    def _changed(self, ids: Mapping[str, int], merges: list[str | tuple[str, str]], added: list[AddedToken]) -> str:
        """The document with all tokens in the model's vocabulary, so that each keeps its id."""
        model = {**self._raw_model, "vocab": ids, "merges": merges}
        # A text is encoded whole, and what stands around it is put there by HubTokenizer.
        nothing = {"truncation": None, "padding": None, "post_processor": None}
        document = {"version": "1.0", **self._document, **nothing, "added_tokens": added, "model": model}
        return msgspec.json.encode(document).decode()


def steps(step: Step | None, inner: str) -> Iterator[Step]:
    """The steps of a Sequence, however deep; `inner` is its field for them. Raises LoadFailed for other shapes."""
    left = [] if step is None else [step]
    while left:
        one = left.pop(0)
        kind = one.get("type")
        if not isinstance(kind, str):
            raise LoadFailed(f"{NAME}: a step among {inner} has no type; {AGAIN}")
        if kind != "Sequence":
            yield one
            continue
        parts = one.get(inner)
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise LoadFailed(f"{NAME}: a Sequence without its list of {inner}; {AGAIN}")
        left = [*parts, *left]


def byte_letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (GPT-2's encoder.py, `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _read_model(raw: Raw) -> _Model:
    kind = parse(raw, _Head, f"{NAME}: model").type
    if kind not in (None, "BPE"):
        raise LoadFailed(f"{NAME}: model.type is {quoted(kind)}; only BPE can be read: take another model")
    model = parse(raw, _Model, f"{NAME}: model")
    for field in _UNREAD:
        if getattr(model, field):
            raise LoadFailed(f"{NAME}: model.{field} is set, which is not read; take another model")
    return model


def _all_ids(vocab: Mapping[str, int], added: list[AddedToken]) -> dict[str, int]:
    """Every token's id, by its text. Raises LoadFailed where two have one id or one has two."""
    ids = dict(vocab)
    for token in added:
        if ids.setdefault(token.content, token.id) != token.id:
            raise LoadFailed(
                f"{NAME}: {quoted(token.content)} has the ids {ids[token.content]} and {token.id}; {AGAIN}"
            )
    texts: dict[int, str] = {}
    for text, place in ids.items():
        if (other := texts.setdefault(place, text)) != text:
            raise LoadFailed(f"{NAME}: {quoted(other)} and {quoted(text)} both have id {place}; {AGAIN}")
    return ids


def _settled(added: list[AddedToken]) -> list[AddedToken]:
    """The tokens, special if they are control tokens: those that look so count as well, as in llama.cpp."""
    shown = shown_among({token.content for token in added})
    return [
        msgspec.structs.replace(
            token, special=token.content not in shown and (token.special or looks_special(token.content))
        )
        for token in added
    ]


def _is_byte_level(parts: _Parts, *, has_fallback: bool) -> bool:
    """Whether tokens are made of bytes, each written as a letter. Raises LoadFailed if they are not of letters either.

    Letters it is where bytes stand in for those that are no tokens, or ▁ for spaces.
    """
    cutting = [*steps(parts.normalizer, "normalizers"), *steps(parts.pre_tokenizer, "pretokenizers")]
    decoding = list(steps(parts.decoder, "decoders"))
    kinds = {step.get("type") for step in (*cutting, *decoding)}
    if "ByteLevel" in kinds:
        return True
    if has_fallback or "Metaspace" in kinds or any(step.get("content") == _SPACE for step in cutting):
        return False
    raise LoadFailed(
        f"{NAME}: its tokens are neither of bytes (ByteLevel) nor sentencepiece's, so their text is not known; "
        "take another model"
    )


def _names(merge: str | tuple[str, str], texts: frozenset[str]) -> bool:
    """Whether a merge has to do with one of `texts`."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    return not texts.isdisjoint((*pair, "".join(pair)))


def _spelled(text: str, letters: Mapping[str, int]) -> bytes:
    """What `tokenizers` does as well (decoders/byte_level.rs): a text of other letters stands for itself."""
    try:
        return bytes(map(letters.__getitem__, text))
    except KeyError:
        return text.encode()


def _piece(text: str, *, is_added: bool) -> bytes:
    byte = _BYTE.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte and not is_added else text.replace(_SPACE, " ").encode()
