"""From a checkpoint's tokenizer files to a vocabulary."""

from collections.abc import Mapping
from pathlib import Path

from localllm.convert.config import Config
from localllm.convert.vocabulary.added_tokens import read_added_tokens
from localllm.convert.vocabulary.byte_pairs import byte_pair_pieces
from localllm.convert.vocabulary.files import TokenizerFiles
from localllm.convert.vocabulary.pieces import Pieces
from localllm.convert.vocabulary.ranked_pieces import ranked_pieces
from localllm.convert.vocabulary.sentencepieces import NAME as MODEL_NAME
from localllm.convert.vocabulary.sentencepieces import is_tiktoken, sentencepieces
from localllm.convert.vocabulary.settings import Settings, read_settings
from localllm.convert.vocabulary.special import read_special_tokens
from localllm.convert.vocabulary.templates import read_templates
from localllm.convert.vocabulary.tokenizer_json import NAME as JSON_NAME
from localllm.convert.vocabulary.tokenizer_json import (
    TokenizerJson,
    is_byte_level,
    read_byte_pairs,
    read_tokenizer_json,
)
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed


def read_vocabulary(files: Mapping[str, Path], size: int, config: Config) -> Vocabulary:
    """The vocabulary of a checkpoint: `files` by the names that it knows them by, `size` rows of the embedding.

    Read are tokenizer.json, tokenizer.model, tokenizer_config.json, special_tokens_map.json, added_tokens.json,
    generation_config.json, chat_template.jinja and chat_template.json, those that there are.

    Raises LoadFailed, naming file and field, for files that are missing, broken or at odds with each other, and for a
    tokenizer of which it is not known that llama.cpp makes the same ids.
    """
    found = TokenizerFiles(files)
    settings = read_settings(found)
    document = read_tokenizer_json(found)
    pieces = _read_pieces(found, settings, document, size)
    special = read_special_tokens(found, settings, config, document, pieces)
    templates = read_templates(found, settings)
    return Vocabulary(
        model=pieces.model,
        pre=pieces.pre,
        tokens=pieces.tokens,
        types=pieces.types,
        scores=pieces.scores,
        merges=pieces.merges,
        special=special.ids,
        flags=special.flags,
        chat_template=templates.main,
        chat_templates=templates.others,
    )


def _read_pieces(files: TokenizerFiles, settings: Settings, document: TokenizerJson | None, size: int) -> Pieces:
    """From tokenizer.json where it has byte pairs over bytes, else from sentencepiece's own file where there is one."""
    data = files.data(MODEL_NAME) if MODEL_NAME in files else None
    if data is not None and is_tiktoken(data):
        data = None
    if document is None and data is None:
        raise _no_tokenizer(files)
    added = read_added_tokens(files, document, settings, size)
    model = read_byte_pairs(document) if document and (data is None or is_byte_level(document)) else None
    if document and model and not model.byte_fallback:
        return byte_pair_pieces(document, model, added, size)
    if data is not None:
        return sentencepieces(data, added, size)
    if document and model:
        return ranked_pieces(document, model, added, size)
    raise _no_tokenizer(files)


def _no_tokenizer(files: TokenizerFiles) -> LoadFailed:
    if MODEL_NAME in files:
        return LoadFailed(f"{MODEL_NAME} is in the form of tiktoken, which is not read; get {JSON_NAME} too")
    others = [name for name in ("tekken.json", "vocab.json", "vocab.txt", "spiece.model") if name in files]
    there = f" ({others[0]} is not read)" if others else ""
    return LoadFailed(f"the checkpoint has neither {JSON_NAME} nor {MODEL_NAME}{there}; get one of them")
