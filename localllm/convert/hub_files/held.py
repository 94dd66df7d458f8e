"""The vocabulary that a GGUF file holds, completed by what llama.cpp takes where the file says nothing.

The defaults are those of src/llama-vocab.cpp, `llama_vocab::impl::load`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from localllm.convert.hub_files.cuts import begins_texts, has_no_begin
from localllm.convert.vocabulary.pieces import BYTE_PAIRS, SENTENCEPIECE
from localllm.convert.vocabulary.tokens import CONTROL, NORMAL, USER_DEFINED
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from localllm.models.control_tokens import control_among, plain_among, shown_among
from localllm.models.gguf.arrays import Arrays, read_arrays
from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import GgufHeader
from localllm.models.gguf.metadata import Metadata, quoted
from localllm.models.gguf.vocabulary import TOKENS

MODEL, PRE = "tokenizer.ggml.model", "tokenizer.ggml.pre"
_MERGES, _SCORES, _TYPES = (f"tokenizer.ggml.{name}" for name in ("merges", "scores", "token_type"))
_TEMPLATE = "tokenizer.chat_template"
_OTHER_MODELS = {
    "bert": "WordPiece",
    "t5": "Unigram",
    "rwkv": "the tokenizer of RWKV",
    "plamo2": "the tokenizer of PLaMo 2",
    "gemma4": "byte pairs over letters",
    "none": "no vocabulary at all",
    "no_vocab": "no vocabulary at all",
}
_SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "fim_pad", "fim_rep", "fim_sep")
_DEFAULT_IDS = {BYTE_PAIRS: {"bos": 11, "eos": 11}, SENTENCEPIECE: {"bos": 1, "eos": 2, "unknown": 0}}


def held_vocabulary(path: Path, header: GgufHeader) -> Vocabulary:
    """The vocabulary of the file that `header` is of: types, special ids and flags as llama.cpp has them once loaded.

    Tokens are UTF-8, none of them empty or there twice. Raises LoadFailed, also for kinds of vocabularies that no
    tokenizer.json is made of.
    """
    fields = Fields(header.metadata)
    model, pre = _model(fields), fields.text(PRE)
    arrays = read_arrays(path, header, {TOKENS, _MERGES, _SCORES, _TYPES})
    texts = _texts(arrays.texts.get(TOKENS, []))
    return Vocabulary(
        model=model,
        pre=pre,
        tokens=tuple(text.encode() for text in texts),
        types=tuple(_types(texts, arrays)),
        scores=_scores(arrays, len(texts)) if model == SENTENCEPIECE else (),
        merges=tuple(_decoded(_MERGES, arrays.texts.get(_MERGES, []))) if model == BYTE_PAIRS else (),
        special=_special(fields, model, pre, len(texts)),
        flags=_flags(header.metadata, model, pre),
        chat_template=fields.text(_TEMPLATE) or None,
        chat_templates=_templates(header.metadata),
    )


def _model(fields: Fields) -> str:
    model = fields.text(MODEL)
    if model in _DEFAULT_IDS:
        return model
    if not model:
        raise LoadFailed(f"the file has no {MODEL}; name a model's only or first file")
    kind = f" ({_OTHER_MODELS[model]})" if model in _OTHER_MODELS else ""
    raise LoadFailed(
        f"{MODEL} is {quoted(model)}{kind}; only gpt2 and llama can be written as a tokenizer.json: take another model"
    )


def _texts(raw: list[bytes]) -> list[str]:
    """The tokens, read like llama.cpp does: up to a NUL, and with a name for those that are empty."""
    if not raw:
        raise damaged(f"it has no {TOKENS}")
    ends = [text.partition(b"\0")[0] for text in raw]
    texts = [text or f"[EMPTY_{place}]" for place, text in enumerate(_decoded(TOKENS, ends))]
    if len(set(texts)) < len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise damaged(f"{TOKENS} has {quoted(twice)} twice")
    return texts


def _decoded(key: str, raw: Iterable[bytes]) -> Iterable[str]:
    for place, text in enumerate(raw):
        try:
            yield text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadFailed(f"{key}[{place}] is not UTF-8, which a tokenizer.json cannot hold") from error


def _types(texts: list[str], arrays: Arrays) -> list[int]:
    types = [int(kind) for kind in arrays.numbers.get(_TYPES, ())][: len(texts)] or [NORMAL] * len(texts)
    places = {text: place for place, text in enumerate(texts)}
    for kind, known in ((CONTROL, control_among), (USER_DEFINED, shown_among), (NORMAL, plain_among)):
        for text in known(places):
            types[places[text]] = kind
    return types


def _scores(arrays: Arrays, size: int) -> tuple[float, ...]:
    scores = arrays.numbers.get(_SCORES, np.zeros(size)).astype(np.float64)[:size]
    if not np.isfinite(scores).all():
        raise damaged(f"{_SCORES} has values that are no numbers")
    return tuple(map(float, scores))


def _special(fields: Fields, model: str, pre: str, size: int) -> dict[str, int]:
    """Ids of tokens; one that is none is as if it were not said."""
    defaults = dict(_DEFAULT_IDS[model])
    if model == BYTE_PAIRS and has_no_begin(pre):
        defaults.pop("bos")
    said = {name: fields.count(f"tokenizer.ggml.{name}_token_id") for name in _SPECIAL}
    ids = defaults | {name: place for name, place in said.items() if place is not None and place < size}
    return {name: place for name, place in ids.items() if place < size}


def _flags(metadata: Metadata, model: str, pre: str) -> dict[str, bool]:
    defaults = {"add_bos_token": model == SENTENCEPIECE or begins_texts(pre), "add_eos_token": False}
    if model == SENTENCEPIECE:
        defaults["add_space_prefix"] = True
    return {name: _flag(metadata, f"tokenizer.ggml.{name}", default) for name, default in defaults.items()}


def _flag(metadata: Metadata, key: str, default: bool) -> bool:
    value = metadata.get(key, default)
    if not isinstance(value, bool):
        raise damaged(f"the value of {key} is not a bool")
    return value


def _templates(metadata: Mapping[str, object]) -> dict[str, str]:
    beginning = f"{_TEMPLATE}."
    return {
        key.removeprefix(beginning): value
        for key, value in metadata.items()
        if key.startswith(beginning) and isinstance(value, str)
    }
