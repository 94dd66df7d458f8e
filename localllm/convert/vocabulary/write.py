"""A vocabulary into a GGUF file (ggml docs/gguf.md, "Tokenizer")."""

import re

import gguf

from localllm.convert.vocabulary.vocabulary import Vocabulary

_UNUSUAL = re.compile(r"[^A-Za-z0-9]")  # in names of templates


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """Add everything under `tokenizer.`."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for name, place in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", place)
    for name, flag in vocabulary.flags.items():
        writer.add_bool(f"tokenizer.ggml.{name}", flag)
    _add_templates(writer, vocabulary)


def _add_templates(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """As GGUFWriter.add_chat_template does, except that the same templates make the same bytes."""
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
    named = {_UNUSUAL.sub("_", name): text for name, text in sorted(vocabulary.chat_templates.items())}
    for name, text in named.items():
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), text)
    writer.add_array(gguf.Keys.Tokenizer.CHAT_TEMPLATES, list(named))
