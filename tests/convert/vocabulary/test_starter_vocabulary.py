"""A vocabulary that people use: what is made of the starter model's files is what its GGUF holds."""

import json
from pathlib import Path

import gguf
import pytest

from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.models.local import LocalModel
from tests.convert.vocabulary.byte_pair_files import Json, added_token, write_files
from tests.convert.vocabulary.texts import MARKS, TEXTS
from tests.convert.vocabulary.tokenizers_at_work import decoded, read_folder, tokenizing

SMOLLM: Json = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


@pytest.fixture(scope="module")
def held(starter_model: LocalModel) -> Vocabulary:
    """What the file has."""
    fields = gguf.GGUFReader(starter_model.path).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "merges"))
    ids = ("bos", "eos", "unknown", "padding")
    return Vocabulary(
        model=fields["tokenizer.ggml.model"].contents(),
        pre=fields["tokenizer.ggml.pre"].contents(),
        tokens=tuple(bytes(tokens.parts[place]) for place in tokens.data),
        types=tuple(int(types.parts[place][0]) for place in types.data),
        merges=tuple(bytes(merges.parts[place]).decode() for place in merges.data),
        special={name: fields[f"tokenizer.ggml.{name}_token_id"].contents() for name in ids},
        chat_template=fields["tokenizer.chat_template"].contents(),
    )


@pytest.fixture(scope="module")
def document(held: Vocabulary) -> Json:
    """The tokenizer.json that it was made of."""
    texts = [token.decode() for token in held.tokens]
    control = [place for place, kind in enumerate(held.types) if kind == gguf.TokenType.CONTROL]
    return {
        "added_tokens": [added_token(place, texts[place], special=True) for place in control],
        "normalizer": None,
        "pre_tokenizer": SMOLLM,
        "model": {
            "type": "BPE",
            "vocab": {text: place for place, text in enumerate(texts)},
            "merges": list(held.merges),
        },
    }


@pytest.mark.real_model
@pytest.mark.slow
def test_it_comes_out_as_it_is(held: Vocabulary, document: Json, tmp_path: Path) -> None:
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    settings = {setting: held.tokens[held.special[name]].decode() for setting, name in names.items()}
    files = write_files(tmp_path / "files", document, chat_template=held.chat_template, **settings)
    made = read_folder(files, len(held.tokens))
    for field in ("model", "pre", "tokens", "types", "scores", "merges", "special", "chat_template", "chat_templates"):
        assert getattr(made, field) == getattr(held, field), field
    assert made.flags == {"add_bos_token": False, "add_eos_token": False}

    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer to compare with is missing")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    with tokenizing(made, tmp_path) as ours:
        for text in (*TEXTS, *MARKS):
            ids = ours.encode(text, add_special=True, parse_special=True)
            assert ids == theirs.encode(text).ids, text
            assert decoded(ours, ids) == text
