"""Small tokenizers of byte pairs, trained so that every wrong cut shows: their merges cross all cuts."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.convert.vocabulary.texts import MARKS, TEXTS

Json = dict[str, object]

END, START, TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TEXTS, PLAIN_TEXTS = (END, START, TURN), ("<tool_call>", "<think>")


@cache
def trained() -> str:
    """A tokenizer.json that does not cut at all."""
    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer to compare with is missing")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2500, min_frequency=1, initial_alphabet=alphabet, show_progress=False, max_token_length=6
    )
    tokenizer.train_from_iterator([*TEXTS, *MARKS], trainer)
    return str(tokenizer.to_str())


def byte_pair_json(steps: Sequence[Json] = (), **changes: object) -> Json:
    """One that cuts by `steps`, with tokens added; `changes` to the whole, those with model_ to its model."""
    document: Json = json.loads(trained())
    model = document["model"]
    assert isinstance(model, dict)
    added = [
        added_token(len(model["vocab"]) + place, text, special=text in CONTROL_TEXTS)
        for place, text in enumerate((*CONTROL_TEXTS, *PLAIN_TEXTS))
    ]
    document |= {
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
    }
    for key, value in changes.items():
        if key.startswith("model_"):
            model[key.removeprefix("model_")] = value
        else:
            document[key] = value
    return document


def added_token(place: int, text: str, *, special: bool) -> Json:
    return {
        "id": place,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def size_of(document: Json) -> int:
    """Rows that an embedding for it has at least."""
    model, added = document["model"], document["added_tokens"]
    assert isinstance(model, dict)
    assert isinstance(added, list)
    return 1 + max(int(place) for place in (*model["vocab"].values(), *(token["id"] for token in added)))


def write_files(folder: Path, document: Json, **settings: object) -> Path:
    """tokenizer.json and tokenizer_config.json in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": TURN} | settings), "utf-8")
    return folder
