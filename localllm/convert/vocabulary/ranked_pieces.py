"""A vocabulary of sentencepiece that is kept as ranked merges: a tokenizer.json with byte_fallback.

Checkpoints that transformers 5 saved have no tokenizer.model, only this. llama.cpp merges by the score of what comes
out, `tokenizers` by the rank of the pair. Both do the same if the pairs are what transformers makes out of a
tokenizer.model (convert_slow_tokenizer.py, generate_merges): every way to cut a token into two tokens, and all ways of
one token in a row. That is checked here; then the place of the row is a score. Llama 2, Gemma 1 and Gemma 3 are so.
"""

import re
from collections.abc import Collection, Iterable

from localllm.convert.vocabulary.pieces import SPACE, Pieces, scored_pieces
from localllm.convert.vocabulary.sentencepieces import added_piece
from localllm.convert.vocabulary.tokenizer_json import NAME, AddedToken, BytePairs, Step, TokenizerJson, flat
from localllm.convert.vocabulary.tokens import BYTE, NORMAL, Tokens
from localllm.errors import LoadFailed
from localllm.models.gguf.metadata import quoted

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_Form = tuple[object, tuple[tuple[str, object], ...]]  # type and fields of a step

_REPLACE: _Form = ("Replace", (("content", SPACE), ("pattern", {"String": " "})))
_PREPEND: _Form = ("Prepend", (("prepend", SPACE),))
_SPLIT: _Form = ("Split", (("behavior", "MergedWithPrevious"), ("invert", False), ("pattern", {"String": " "})))


def _metaspace(scheme: str) -> _Form:
    return "Metaspace", (("prepend_scheme", scheme), ("replacement", SPACE), ("split", False))


# (normalizer, pre_tokenizer, whether a space is put before the text)
_SPACING: tuple[tuple[list[_Form], list[_Form], bool], ...] = (
    ([_PREPEND, _REPLACE], [], True),  # Llama 2, Mistral
    ([_REPLACE], [], False),  # Gemma 1
    ([_REPLACE], [_SPLIT], False),  # Gemma 3: after the replacing there is nothing to split
    # LlamaTokenizer of transformers 5. It puts no space before one that is there (and, if not legacy, none after a
    # special token); llama.cpp does, like sentencepiece.
    ([], [_metaspace("always")], True),
    ([], [_metaspace("first")], True),
    ([], [_metaspace("never")], False),
)


def ranked_pieces(document: TokenizerJson, model: BytePairs, added: Iterable[AddedToken], size: int) -> Pieces:
    """The vocabulary of a `model` with byte_fallback. Raises LoadFailed where llama.cpp would make other ids."""
    has_prefix = _has_space_prefix(document)
    if model.ignore_merges:
        raise LoadFailed(f"{NAME}: model.ignore_merges is true, which llama.cpp does not do with byte_fallback")
    added = list(added)
    apart = {token.content for token in added}
    pairs = [(left, right) for left, right in model.pairs() if left + right not in apart]
    plain = [text for text in model.vocab if text not in apart and not _BYTE.fullmatch(text)]
    scores = _scores(plain, pairs)
    _check_complete(plain, set(pairs))
    tokens = Tokens(size)
    added_ids = {token.content: token.id for token in added}
    for text, place in model.vocab.items():
        if added_ids.get(text) != place:
            tokens.add(place, text, BYTE if _BYTE.fullmatch(text) else NORMAL, scores.get(text, 0.0), file=NAME)
    for token in added:
        tokens.add(token.id, *added_piece(token), file=NAME)
    return scored_pieces(tokens, file=NAME, ids=model.vocab | added_ids, roles=model.roles, add_space_prefix=has_prefix)


def _scores(plain: Collection[str], pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Minus the place of a token among those that are merged; the rest come after, as in sentencepiece."""
    scores: dict[str, float] = {}
    last = ""
    for left, right in pairs:
        text = left + right
        if text != last and text in scores:
            raise LoadFailed(
                f"{NAME}: model.merges makes {quoted(text)} at two ranks, which the scores of llama.cpp cannot tell"
            )
        scores.setdefault(text, -float(len(scores)))
        last = text
    for text in plain:
        scores.setdefault(text, -float(len(scores)))
    return scores


def _check_complete(plain: Collection[str], pairs: Collection[tuple[str, str]]) -> None:
    """llama.cpp joins whatever makes a token, so every two parts that do must be among the pairs."""
    parts = {*plain, *(letter for text in plain for letter in text)}
    for text in plain:
        for cut in range(1, len(text)):
            left = text[:cut]
            if left in parts and (right := text[cut:]) in parts and (left, right) not in pairs:
                raise LoadFailed(
                    f"{NAME}: model.merges does not have {quoted(left)} and {quoted(right)}, which llama.cpp would join"
                )


def _has_space_prefix(document: TokenizerJson) -> bool:
    normalizer = [_form(step) for step in flat(document.normalizer, inner="normalizers")]
    pre_tokenizer = [_form(step) for step in flat(document.pre_tokenizer, inner="pretokenizers")]
    for known_normalizer, known_pre_tokenizer, has_prefix in _SPACING:
        if (normalizer, pre_tokenizer) == (known_normalizer, known_pre_tokenizer):
            return has_prefix
    steps = f"{document.normalizer}, {document.pre_tokenizer}"[:400]
    raise LoadFailed(f"{NAME}: normalizer and pre_tokenizer change spaces in a way that llama.cpp does not: {steps}")


def _form(step: Step) -> _Form:
    kept = {key: value for key, value in step.items() if key != "type"}
    if "prepend_scheme" in kept:
        kept.pop("add_prefix_space", None)  # what it was called before
    return step.get("type"), tuple(sorted(kept.items()))
