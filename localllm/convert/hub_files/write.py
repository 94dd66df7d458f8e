"""The tokenizer of a GGUF file, as the files that a repository of the hub has for it."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from localllm.convert.hub_files.byte_pairs import byte_pair_parts
from localllm.convert.hub_files.cuts import cutting
from localllm.convert.hub_files.held import held_vocabulary
from localllm.convert.hub_files.scored_pieces import scored_parts
from localllm.convert.vocabulary.pieces import BYTE_PAIRS
from localllm.convert.vocabulary.tokens import BYTE, NORMAL, USER_DEFINED
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from localllm.models.control_tokens import ends_among, shown_among
from localllm.models.gguf.fields import Fields
from localllm.models.gguf.header import read_header

_TOKEN_KEYS = {
    "bos": "bos_token",
    "eos": "eos_token",
    "unknown": "unk_token",
    "seperator": "sep_token",
    "padding": "pad_token",
    "mask": "mask_token",
}
_ENDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
_PHI_3 = re.compile("phi-?3", re.IGNORECASE)
_KEEPING_SPACES = frozenset({"<unk>", "<s>", "<|endoftext|>"})  # of Phi-3's tokens (llama-vocab.cpp)


def tokenizer_files(path: Path) -> dict[str, bytes]:
    """tokenizer.json, tokenizer_config.json and generation_config.json for a GGUF file (the first of several).

    The library `tokenizers` makes the same ids of them as llama.cpp of the file, as far as `convert/vocabulary` knows.
    Two things are meant to differ: the name of a control token in a text is never merged into that token, and tokens
    of no use ([PAD5]) are control tokens, as a tokenizer.json knows no others that have no text.
    The same vocabulary makes the same bytes. Raises LoadFailed, naming the file and the key.
    """
    header = read_header(path)
    try:
        vocabulary = held_vocabulary(path, header)
        model_name = Fields(header.metadata).text("general.name")
        return _files(vocabulary, eats_spaces=_PHI_3.search(model_name) is not None)
    except LoadFailed as error:
        message = error.message if error.message.startswith(str(path)) else f"{path}: {error.message}"
        raise LoadFailed(message) from error


def _files(vocabulary: Vocabulary, *, eats_spaces: bool) -> dict[str, bytes]:
    ids = {token.decode(): place for place, token in enumerate(vocabulary.tokens)}
    if vocabulary.model == BYTE_PAIRS:
        parts = byte_pair_parts(vocabulary, ids, cutting(vocabulary.pre))
    else:
        parts = scored_parts(vocabulary, ids)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(vocabulary, ids, eats_spaces=eats_spaces),
        "post_processor": _post_processor(vocabulary),
        **parts,
    }
    return {
        "tokenizer.json": msgspec.json.encode(document),
        "tokenizer_config.json": _formatted(_settings(vocabulary)),
        "generation_config.json": _formatted(_generation(vocabulary, ids)),
    }


def _added_tokens(vocabulary: Vocabulary, ids: Mapping[str, int], *, eats_spaces: bool) -> list[dict[str, object]]:
    """Those that are cut out of the text before all else, and those that are of no use."""
    return [
        {
            "id": place,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": eats_spaces and text not in _KEEPING_SPACES,
            "normalized": False,
            "special": vocabulary.types[place] != USER_DEFINED,
        }
        for text, place in ids.items()
        if vocabulary.types[place] not in {NORMAL, BYTE}
    ]


def _post_processor(vocabulary: Vocabulary) -> dict[str, object] | None:
    """What puts BOS and EOS around a text (`tokenizers`, processors/template.rs)."""
    around = {
        name: vocabulary.special[name]
        for name in ("bos", "eos")
        if vocabulary.flags[f"add_{name}_token"] and name in vocabulary.special
    }
    if not around:
        return None
    texts = {name: vocabulary.tokens[place].decode() for name, place in around.items()}

    def wrapped(sequence: str, type_id: int) -> list[dict[str, object]]:
        items: list[dict[str, object]] = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        if "bos" in texts:
            items.insert(0, {"SpecialToken": {"id": texts["bos"], "type_id": type_id}})
        if "eos" in texts:
            items.append({"SpecialToken": {"id": texts["eos"], "type_id": type_id}})
        return items

    return {
        "type": "TemplateProcessing",
        "single": wrapped("A", 0),
        "pair": [*wrapped("A", 0), *wrapped("B", 1)],
        "special_tokens": {
            texts[name]: {"id": texts[name], "ids": [place], "tokens": [texts[name]]} for name, place in around.items()
        },
    }


def _settings(vocabulary: Vocabulary) -> dict[str, object]:
    """tokenizer_config.json, with every template that the file has."""
    names = {
        key: vocabulary.tokens[vocabulary.special[name]].decode()
        for name, key in _TOKEN_KEYS.items()
        if name in vocabulary.special
    }
    flags = {name.replace("space_prefix", "prefix_space"): flag for name, flag in vocabulary.flags.items()}
    template: object = vocabulary.chat_template
    if vocabulary.chat_templates:
        main = {"default": vocabulary.chat_template} if vocabulary.chat_template else {}
        template = [{"name": name, "template": text} for name, text in (main | dict(vocabulary.chat_templates)).items()]
    return {
        **flags,
        **names,
        **({"chat_template": template} if template else {}),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _generation(vocabulary: Vocabulary, ids: Mapping[str, int]) -> dict[str, object]:
    """generation_config.json: every token that ends an answer, the one that ends a text first."""
    special = vocabulary.special
    said = [special[name] for name in _ENDS if name in special]
    ends = list(dict.fromkeys([*said, *sorted(ids[text] for text in ends_among(ids))]))
    goes_on = {ids[text] for text in shown_among(ids)}
    found = {
        "bos_token_id": special.get("bos"),
        "eos_token_id": [place for place in ends if place not in goes_on],
        "pad_token_id": special.get("padding"),
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _formatted(document: Mapping[str, object]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
