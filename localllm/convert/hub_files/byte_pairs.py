"""The model of a tokenizer.json over bytes, each written as a letter: GPT-2, Llama 3, Qwen and most others."""

from collections import Counter
from collections.abc import Mapping

from localllm.convert.hub_files.cuts import Cutting
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.metadata import quoted

_MERGES = "tokenizer.ggml.merges"
_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

Pair = tuple[str, str]


def byte_pair_parts(vocabulary: Vocabulary, ids: Mapping[str, int], cutting: Cutting) -> dict[str, object]:
    """Normalizer, pre-tokenizer, decoder and model; `ids` are all tokens. Raises LoadFailed."""
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cutting.steps},
        "decoder": _DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cutting.ignores_merges,
            "vocab": ids,
            "merges": _merges(vocabulary, ids),
        },
    }


def _merges(vocabulary: Vocabulary, ids: Mapping[str, int]) -> list[Pair]:
    """The merges, best first. Those that make no token are left out where nothing else depends on them.

    llama.cpp merges these too, and then takes the result apart again; the library `tokenizers` refuses them.
    """
    pairs = list(dict.fromkeys(_pair(place, merge) for place, merge in enumerate(vocabulary.merges)))
    known = [pair for pair in pairs if pair[0] in ids and pair[1] in ids and "".join(pair) in ids]
    if len(known) == len(pairs):
        return known
    uses = Counter(text for pair in pairs for text in {*pair, "".join(pair)})
    for pair in set(pairs).difference(known):
        if any(uses[text] > 1 for text in (*pair, "".join(pair))):
            raise damaged(f"{_MERGES} has {quoted(' '.join(pair))}, which makes no token, and others build on it")
    return known


def _pair(place: int, merge: str) -> Pair:
    """llama.cpp cuts at the first space after the first letter."""
    right = merge.find(" ", 1)
    if right < 1 or right + 1 == len(merge):
        raise LoadFailed(f"{_MERGES}[{place}] is {quoted(merge)}, not two tokens with a space between")
    return merge[:right], merge[right + 1 :]
