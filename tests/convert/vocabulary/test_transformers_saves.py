"""What transformers 5 saves, which has no tokenizer.model any more, makes the ids that transformers makes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import pytest

from tests.convert.vocabulary.byte_pair_files import END, Json, byte_pair_json, size_of
from tests.convert.vocabulary.sentencepiece_files import ranked_json, trained
from tests.convert.vocabulary.texts import TEXTS
from tests.convert.vocabulary.tokenizers_at_work import read_folder, tokenizing


class Theirs(Protocol):
    """A tokenizer of transformers."""

    def encode(self, text: str) -> list[int]: ...

    def save_pretrained(self, folder: Path) -> object: ...


BYTE_PAIRS = {"eos_token": END, "unk_token": END}
GEMMA = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "mask_token": "<unk>"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # transformers' own
@pytest.mark.parametrize(
    ("name", "document_of", "options", "pre"),
    [
        ("GemmaTokenizer", lambda: ranked_json(trained(), None, None, special=()), GEMMA, "default"),
        ("LlamaTokenizer", lambda: ranked_json(trained(), None, None, special=()), {}, "default"),
        ("LlamaTokenizer", lambda: ranked_json(trained(), None, None, special=()), {"legacy": True}, "default"),
        ("Qwen2Tokenizer", byte_pair_json, BYTE_PAIRS, "qwen2"),
        ("GPT2Tokenizer", byte_pair_json, BYTE_PAIRS | {"bos_token": END}, "gpt-2"),
    ],
)
def test_a_saved_tokenizer(
    name: str, document_of: Callable[[], Json], options: dict[str, str | bool], pre: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="the tokenizer to compare with is missing")
    model = document_of()["model"]
    assert isinstance(model, dict)
    merges = [tuple(pair) for pair in model["merges"]]
    theirs = cast(Theirs, getattr(transformers, name)(vocab=model["vocab"], merges=merges, **options))
    theirs.save_pretrained(tmp_path / "files")
    size = size_of(json.loads((tmp_path / "files" / "tokenizer.json").read_text("utf-8")))
    vocabulary = read_folder(tmp_path / "files", size)
    assert vocabulary.pre == pre
    texts = [text for text in TEXTS if not (name == "LlamaTokenizer" and text.startswith(" "))]  # see ranked_pieces.py
    with tokenizing(vocabulary, tmp_path) as ours:
        for text in texts:
            assert ours.encode(text, add_special=True, parse_special=True) == theirs.encode(text), text
