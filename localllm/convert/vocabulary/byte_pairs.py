"""Byte pairs over bytes: tokenizer.json of GPT-2, Llama 3, Qwen and most others."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from localllm.convert.vocabulary.added_tokens import added_type
from localllm.convert.vocabulary.pieces import BYTE_PAIRS, Pieces
from localllm.convert.vocabulary.pre_tokenizers import check_normalizer, pre_tokenizer_name
from localllm.convert.vocabulary.tokenizer_json import NAME, AddedToken, BytePairs, TokenizerJson
from localllm.convert.vocabulary.tokens import NORMAL, Tokens
from localllm.errors import LoadFailed

_NEVER = 2**62


def byte_pair_pieces(document: TokenizerJson, model: BytePairs, added: Iterable[AddedToken], size: int) -> Pieces:
    """The vocabulary of a `model` without byte_fallback. Raises LoadFailed for what llama.cpp would do otherwise."""
    check_normalizer(document.normalizer)
    pairs = model.pairs()
    added_ids = {token.content: token.id for token in added}
    pre = pre_tokenizer_name(
        document.pre_tokenizer,
        ignore_merges=model.ignore_merges,
        merges_reach_all=lambda: merges_reach_all(model.vocab.keys() - added_ids.keys(), pairs),
    )
    tokens = Tokens(size)
    for text, place in model.vocab.items():
        if added_ids.get(text) != place:
            tokens.add(place, text, NORMAL, file=NAME)
    for token in added:
        tokens.add(token.id, token.content, added_type(token), file=NAME)
    return Pieces(
        file=NAME,
        model=BYTE_PAIRS,
        pre=pre,
        tokens=tokens.texts(),
        types=tokens.types(),
        merges=tuple(_written(place, pair) for place, pair in enumerate(pairs)),
        ids=model.vocab | added_ids,
        roles=model.roles,
    )


def merges_reach_all(texts: Iterable[str], pairs: list[tuple[str, str]]) -> bool:
    """Whether merging the letters of each text, best pair first, leaves nothing but the text."""
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(pairs)))}
    return all(_is_reached(text, ranks) for text in texts)


def _is_reached(text: str, ranks: Mapping[tuple[str, str], int]) -> bool:
    parts = list(text)
    while len(parts) > 1:
        rank, place = min((ranks.get(pair, _NEVER), place) for place, pair in enumerate(pairwise(parts)))
        if rank == _NEVER:
            return False
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return True


def _written(place: int, pair: tuple[str, str]) -> str:
    """A merge as GGUF has it: llama.cpp cuts at the first space after the first letter, and ends at a NUL."""
    if not all(pair) or any(sign in text for text in pair for sign in " \0"):
        raise LoadFailed(f"{NAME}: model.merges[{place}] is {pair!r:.80}, which a GGUF file cannot hold")
    return " ".join(pair)
