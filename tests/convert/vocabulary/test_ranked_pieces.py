"""Vocabularies of sentencepiece kept as ranked merges: the ids of llama.cpp are those of the library `tokenizers`."""

import json
from collections.abc import Sequence
from pathlib import Path

import gguf
import pytest

from localllm.errors import LoadFailed
from tests.convert.vocabulary.byte_pair_files import Json, size_of, write_files
from tests.convert.vocabulary.sentencepiece_files import (
    BEGIN,
    END,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    ranked_json,
    trained,
)
from tests.convert.vocabulary.texts import MARKS, TEXTS
from tests.convert.vocabulary.tokenizers_at_work import decoded, read_folder, tokenizing

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer to compare with is missing")

REPLACE: Json = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND: Json = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, REPLACE]}
SPLIT: Json = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
SPECIAL = (UNKNOWN, BEGIN, END)


def metaspace(scheme: str) -> Json:
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}


def document_of(
    normalizer: Json | None = REPLACE, pre_tokenizer: Json | None = None, user_defined: Sequence[str] = ()
) -> Json:
    model = trained(tuple(user_defined), add_dummy_prefix=False)
    return ranked_json(model, normalizer, pre_tokenizer, special=SPECIAL)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "has_prefix"),
    [
        pytest.param(PREPEND, None, True, id="Llama 2"),
        pytest.param(REPLACE, None, False, id="Gemma 1"),
        pytest.param(REPLACE, SPLIT, False, id="Gemma 3"),
        pytest.param(None, metaspace("never"), False, id="without a prefix"),
        pytest.param(None, metaspace("always"), True, id="transformers 5"),
        pytest.param(None, metaspace("first"), True, id="transformers 5, not legacy"),
    ],
)
def test_ids_are_those_of_tokenizers(
    normalizer: Json | None, pre_tokenizer: Json | None, has_prefix: bool, tmp_path: Path
) -> None:
    document = document_of(normalizer, pre_tokenizer)
    files = write_files(tmp_path / "files", document, eos_token=END, bos_token=BEGIN)
    vocabulary = read_folder(files, size_of(document))
    assert (vocabulary.model, vocabulary.pre) == ("llama", "default")
    assert vocabulary.flags["add_space_prefix"] == has_prefix
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    # a Metaspace puts no space before one that is there; llama.cpp and sentencepiece do
    texts = [text for text in (*TEXTS, *MARKS) if not (normalizer is None and has_prefix and text.startswith(" "))]
    with tokenizing(vocabulary, tmp_path) as ours:
        for text in texts:
            ids = ours.encode(text, add_special=False, parse_special=True)
            assert ids == theirs.encode(text, add_special_tokens=False).ids, text
            assert decoded(ours, ids) == (" " + text if has_prefix and text else text)


def test_it_is_the_vocabulary_of_tokenizer_model(tmp_path: Path) -> None:
    document = document_of(user_defined=USER_DEFINED)
    size = size_of(document)
    files = write_files(tmp_path / "files", document, eos_token=END, bos_token=BEGIN)
    ranked = read_folder(files, size)
    (files / "tokenizer.model").write_bytes(trained(USER_DEFINED, add_dummy_prefix=False))
    scored = read_folder(files, size)
    assert ranked == scored


def test_bytes_are_bytes(tmp_path: Path) -> None:
    document = document_of()
    vocabulary = read_folder(write_files(tmp_path, document, eos_token=END), size_of(document))
    assert vocabulary.types.count(gguf.TokenType.BYTE) == 256
    assert vocabulary.types[vocabulary.tokens.index(b"<0x0A>")] == gguf.TokenType.BYTE


def test_merges_that_scores_cannot_tell_are_refused(tmp_path: Path) -> None:
    document = document_of()
    model = document["model"]
    assert isinstance(model, dict)
    merges = list(model["merges"])
    twice = next(place for place in range(1, len(merges)) if "".join(merges[place]) == "".join(merges[place - 1]))

    model["merges"] = [*merges[:twice], *merges[twice + 1 :]]
    with pytest.raises(LoadFailed, match=r"tokenizer.json: model.merges does not have .*, which llama.cpp would join"):
        read_folder(write_files(tmp_path, document), size_of(document))

    model["merges"] = [*merges[:twice], *merges[twice + 1 :], merges[twice]]
    with pytest.raises(LoadFailed, match=r"tokenizer.json: model.merges makes .* at two ranks"):
        read_folder(write_files(tmp_path, document), size_of(document))
