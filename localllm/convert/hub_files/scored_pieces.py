"""The model of a tokenizer.json for a vocabulary of sentencepiece: Llama 2, Mistral, Gemma, Phi-3.

llama.cpp joins the two neighbours that make the token with the best score; a tokenizer.json ranks pairs. The ranks are
made as transformers makes them (convert_slow_tokenizer.py, `generate_merges`): tokens by score, and for each token
every way to cut it into two others. `convert/vocabulary/ranked_pieces.py` goes the other way.
"""

from collections.abc import Mapping, Sequence

from localllm.convert.vocabulary.pieces import SPACE
from localllm.convert.vocabulary.tokens import BYTE, NORMAL, USER_DEFINED
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

_PREPEND = {"type": "Prepend", "prepend": SPACE}
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_SPACES_AGAIN = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}

Pair = tuple[str, str]


def scored_parts(vocabulary: Vocabulary, ids: Mapping[str, int]) -> dict[str, object]:
    """Normalizer, pre-tokenizer, decoder and model; `ids` are all tokens. Raises LoadFailed."""
    has_prefix = vocabulary.flags["add_space_prefix"]
    texts = list(ids)
    _check_bytes(texts, vocabulary.types)
    decoders = [_SPACES_AGAIN, {"type": "ByteFallback"}, {"type": "Fuse"}, *([_STRIP] if has_prefix else [])]
    unknown = vocabulary.special.get("unknown")
    return {
        "normalizer": {"type": "Sequence", "normalizers": [_PREPEND, _REPLACE]} if has_prefix else _REPLACE,
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown is None else texts[unknown],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": _merges(vocabulary, ids),
        },
    }


def _merges(vocabulary: Vocabulary, ids: Mapping[str, int]) -> list[Pair]:
    """The pairs, best first. No pair makes a control token: its name in a text must stay text."""
    made = {text: place for text, place in ids.items() if _is_made(text, vocabulary.types[place])}
    parts = made.keys() | {text for text in ids if len(text) == 1}
    scored: dict[float, str] = {}
    merges: list[Pair] = []
    for text in sorted(made, key=lambda text: (-vocabulary.scores[made[text]], made[text])):
        pairs = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        _check_letters(text, ids)
        local = [pair for pair in pairs if pair[0] in parts and pair[1] in parts]
        if local and (other := scored.setdefault(vocabulary.scores[made[text]], text)) != text:
            raise LoadFailed(
                f"tokenizer.ggml.scores are the same for {quoted(other)} and {quoted(text)}, which the ranks of a "
                "tokenizer.json cannot say; take another model"
            )
        merges += sorted(local, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return merges


def _is_made(text: str, kind: int) -> bool:
    """Whether merging may make it. A text that users defined is found before that, but for spaces, which change."""
    return kind == NORMAL or (kind == USER_DEFINED and SPACE in text)


def _check_letters(text: str, ids: Mapping[str, int]) -> None:
    """llama.cpp joins letters that are no tokens; `tokenizers` makes bytes of them first."""
    missing = next((letter for letter in text if letter not in ids), None)
    if missing is not None and len(text) > 1:
        raise LoadFailed(
            f"tokenizer.ggml.tokens has {quoted(text)} but not its letter {quoted(missing)}, which a tokenizer.json "
            "needs; take another model"
        )


def _check_bytes(texts: Sequence[str], types: Sequence[int]) -> None:
    known = {text for text, kind in zip(texts, types, strict=True) if kind in {BYTE, NORMAL}}
    missing = next((byte for byte in range(256) if f"<0x{byte:02X}>" not in known), None)
    if missing is not None:
        raise LoadFailed(
            f"tokenizer.ggml.tokens has no <0x{missing:02X}>; a tokenizer.json of this kind needs one for every byte"
        )
