"""tokenizer.json: what the library `tokenizers` saves (its Rust source, tokenizer/serialization.rs and models/bpe)."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.convert.json_object import AGAIN
from localllm.convert.vocabulary.files import TokenizerFiles, parse
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

NAME = "tokenizer.json"

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]
Step = Mapping[str, object]  # a normalizer, pre-tokenizer or post-processor


class AddedToken(Struct, frozen=True, kw_only=True):
    """A token that is cut out of the text before all else."""

    id: TokenId
    content: Annotated[str, Meta(min_length=1)]
    special: bool = False


class TokenizerJson(Struct, frozen=True, kw_only=True):
    """The parts that say how text becomes ids."""

    model: msgspec.Raw
    added_tokens: list[AddedToken] | None = None
    normalizer: dict[str, object] | None = None
    pre_tokenizer: dict[str, object] | None = None
    post_processor: dict[str, object] | None = None


class BytePairs(Struct, frozen=True, kw_only=True):
    """A model of type BPE."""

    vocab: dict[str, TokenId]
    merges: list[str | tuple[str, str]]
    unk_token: str | None = None
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    byte_fallback: bool = False
    ignore_merges: bool = False

    @property
    def roles(self) -> dict[str, int]:
        """The id of the unknown token, under "unk", if it has one."""
        return {"unk": self.vocab[self.unk_token]} if self.unk_token in self.vocab else {}

    def pairs(self) -> list[tuple[str, str]]:
        """The merges, best first. Raises LoadFailed where one is not of two tokens that make up a third."""
        pairs = [_pair(place, merge) for place, merge in enumerate(self.merges)]
        known = self.vocab
        for place, (left, right) in enumerate(pairs):
            if not (left in known and right in known and left + right in known):
                unknown = next(text for text in (left, right, left + right) if text not in known)
                raise LoadFailed(
                    f"{NAME}: model.merges[{place}] has {quoted(unknown)}, no token of model.vocab; {AGAIN}"
                )
        return pairs


class _Head(Struct, frozen=True):
    type: str | None = None  # files of before 2020 have none


def read_tokenizer_json(files: TokenizerFiles) -> TokenizerJson | None:
    """The file, or None where there is none. Raises LoadFailed."""
    return files.document(NAME, TokenizerJson)


def read_byte_pairs(document: TokenizerJson) -> BytePairs:
    """Its model. Raises LoadFailed for other kinds than BPE, and for what no engine does with BPE."""
    kind = parse(document.model, _Head, f"{NAME}: model").type
    if kind not in (None, "BPE"):
        raise LoadFailed(f"{NAME}: model.type is {quoted(kind)}; only BPE can be converted")
    model = parse(document.model, BytePairs, f"{NAME}: model")
    for field in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if getattr(model, field):
            raise LoadFailed(f"{NAME}: model.{field} is set, which llama.cpp does not do")
    return model


def is_byte_level(document: TokenizerJson) -> bool:
    """Whether its tokens are made of bytes, each written as a letter, rather than of letters."""
    steps = flat(document.pre_tokenizer, inner="pretokenizers")
    return any(step.get("type") == "ByteLevel" for step in steps)


def flat(step: Step | None, *, inner: str) -> list[Step]:
    """The steps of a Sequence, however deep; `inner` is its field for them. Raises LoadFailed for other shapes."""
    if step is None:
        return []
    if step.get("type") != "Sequence":
        return [step]
    steps = step.get(inner)
    if not isinstance(steps, list) or not all(isinstance(one, dict) for one in steps):
        raise LoadFailed(f"{NAME}: a Sequence without its list of {inner}; {AGAIN}")
    return [one for part in steps for one in flat(part, inner=inner)]


def _pair(place: int, merge: str | tuple[str, str]) -> tuple[str, str]:
    if not isinstance(merge, str):
        return merge
    parts = merge.split(" ")
    if len(parts) != 2:
        raise LoadFailed(
            f"{NAME}: model.merges[{place}] is {quoted(merge)}, not two tokens with a space between; {AGAIN}"
        )
    return parts[0], parts[1]
