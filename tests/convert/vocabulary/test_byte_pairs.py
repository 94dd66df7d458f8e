"""Byte pairs: the ids of llama.cpp are those of the library `tokenizers`."""

import json
import unicodedata
from pathlib import Path

import gguf
import pytest

from localllm.convert.vocabulary.pre_tokenizers import KNOWN, Cut
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from tests.convert.vocabulary.byte_pair_files import (
    CONTROL_TEXTS,
    END,
    PLAIN_TEXTS,
    START,
    TURN,
    Json,
    added_token,
    byte_pair_json,
    size_of,
    write_files,
)
from tests.convert.vocabulary.texts import MARKS, TEXTS
from tests.convert.vocabulary.tokenizers_at_work import decoded, read_folder, tokenizing

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizer to compare with is missing")

CHATS = [
    f"{START}user\nHi{TURN}\n{START}assistant\n",
    f"a{END}b {TURN} c",
    '<tool_call>{"a": 1}</tool_call><think> no\n</think>',
    f"x{TURN}{TURN}12 {START}",
]
INEXACT = {  # what llama.cpp's expressions for these are not made for
    "gpt-4o": MARKS,
    "tekken": MARKS,
    "deepseek-coder": [text for text in TEXTS if "\u3000" in text or "\u2028" in text],
}
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

DEEPSEEK_CODER: list[Json] = [
    {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    for pattern in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
] + [{"type": "Digits", "individual_digits": True}]


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> Json:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps: Json) -> Json:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize("cut", KNOWN, ids=lambda cut: cut.name)
def test_every_known_cut_makes_the_same_ids(cut: Cut, tmp_path: Path) -> None:
    steps = [json.loads(step) | {"trim_offsets": True} for step in cut.steps]
    document = lacking_merges(byte_pair_json(steps, model_ignore_merges=cut.ignores_merges))
    vocabulary = read_folder(write_files(tmp_path / "files", document), size_of(document))
    assert vocabulary.pre == cut.name
    texts = [text for text in (*TEXTS, *MARKS, *CHATS) if text not in INEXACT.get(cut.name, [])]
    assert len(texts) >= 58
    check_ids(document, vocabulary, texts, tmp_path)


def lacking_merges(document: Json) -> Json:
    """So that it shows whether a word that is a token stays whole: some words cannot be merged."""
    model = document["model"]
    assert isinstance(model, dict)
    model["merges"] = [merge for place, merge in enumerate(model["merges"]) if place % 7]
    return document


def check_ids(document: Json, vocabulary: Vocabulary, texts: list[str], folder: Path) -> None:
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    with tokenizing(vocabulary, folder) as ours:
        for text in texts:
            ids = ours.encode(text, add_special=False, parse_special=True)
            assert ids == theirs.encode(text).ids, text
            if text not in CHATS:  # llama.cpp shows no control tokens
                assert decoded(ours, ids) == text


def test_the_cuts_differ_where_it_shows(tmp_path: Path) -> None:
    """Else the test above would pass whatever name is given."""
    seen: dict[str, tuple[tuple[int, ...], ...]] = {}
    for cut in KNOWN:
        steps = [json.loads(step) | {"trim_offsets": True} for step in cut.steps]
        document = lacking_merges(byte_pair_json(steps, model_ignore_merges=cut.ignores_merges))
        theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
        seen[cut.name] = tuple(tuple(theirs.encode(text).ids) for text in (*TEXTS, *MARKS))
    alike = [sorted(name for name in seen if seen[name] == seen[one]) for one in seen]
    assert [names for names in alike if len(names) > 1] == []


@pytest.mark.parametrize(
    ("name", "pre_tokenizer", "ignores_merges"),
    [
        ("gpt-2", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}, False),
        (
            "smollm",
            sequence(
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ),
            False,
        ),
        ("llama-bpe", sequence(split(LLAMA_3), BYTES), True),
        ("dbrx", sequence(split(LLAMA_3), BYTES), False),
        ("dbrx", sequence(split(LLAMA_3, "Removed", invert=True), BYTES), False),
        ("qwen2", sequence(split(LLAMA_3.replace("{1,3}", "")), BYTES | {"trim_offsets": False}), False),
        ("deepseek-coder", sequence(*DEEPSEEK_CODER, BYTES), False),
    ],
)
def test_names_by_the_steps_that_checkpoints_have(
    name: str, pre_tokenizer: Json, ignores_merges: bool, tmp_path: Path
) -> None:
    document = byte_pair_json(pre_tokenizer=pre_tokenizer, model_ignore_merges=ignores_merges)
    assert read_folder(write_files(tmp_path, document), size_of(document)).pre == name


def test_text_that_is_composed_first_makes_the_same_ids(tmp_path: Path) -> None:
    """Qwen composes letters (NFC), llama.cpp does not; most text comes composed."""
    steps = [split(LLAMA_3.replace("{1,3}", "")), BYTES]
    document = byte_pair_json(steps, normalizer={"type": "NFC"})
    vocabulary = read_folder(write_files(tmp_path / "files", document), size_of(document))
    texts = [text for text in (*TEXTS, *MARKS) if unicodedata.is_normalized("NFC", text)]
    assert len(texts) >= 58
    check_ids(document, vocabulary, texts, tmp_path)


def test_ignoring_merges_may_be_said_where_it_changes_nothing(tmp_path: Path) -> None:
    steps = [split(LLAMA_3.replace("{1,3}", "")), BYTES]
    document = byte_pair_json(steps, model_ignore_merges=True)
    vocabulary = read_folder(write_files(tmp_path / "files", document), size_of(document))
    assert vocabulary.pre == "qwen2"
    check_ids(document, vocabulary, TEXTS, tmp_path)


def test_ignoring_merges_is_refused_where_ids_would_change(tmp_path: Path) -> None:
    document = byte_pair_json([split(LLAMA_3.replace("{1,3}", "")), BYTES], model_ignore_merges=True)
    with pytest.raises(LoadFailed, match=r"tokenizer.json: model.ignore_merges is true"):
        read_folder(write_files(tmp_path, lacking_merges(document)), size_of(document))


def test_merges_come_in_both_forms(tmp_path: Path) -> None:
    document = byte_pair_json([BYTES | {"use_regex": True}])
    pairs = read_folder(write_files(tmp_path, document), size_of(document))
    model = document["model"]
    assert isinstance(model, dict)
    assert isinstance(model["merges"][0], list)
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    assert read_folder(write_files(tmp_path, document), size_of(document)) == pairs
    assert pairs.merges == tuple(model["merges"])


def test_tokens_have_the_types_of_llama_cpps_converter(tmp_path: Path) -> None:
    document = byte_pair_json([BYTES | {"use_regex": True}])
    vocabulary = read_folder(write_files(tmp_path, document), size_of(document) + 3)
    kinds = dict(zip(vocabulary.tokens, map(gguf.TokenType, vocabulary.types), strict=True))
    control, plain = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED
    assert [kinds[text.encode()] for text in (*CONTROL_TEXTS, *PLAIN_TEXTS)] == [control] * 3 + [plain] * 2
    assert set(vocabulary.types[: -len((*CONTROL_TEXTS, *PLAIN_TEXTS)) - 3]) == {gguf.TokenType.NORMAL}
    size = size_of(document)
    assert vocabulary.tokens[-3:] == tuple(f"[PAD{size + place}]".encode() for place in range(3))
    assert vocabulary.types[-3:] == (gguf.TokenType.UNUSED,) * 3


def test_what_looks_special_is_a_control_token(tmp_path: Path) -> None:
    document = byte_pair_json([BYTES | {"use_regex": True}])
    size = size_of(document)
    added = document["added_tokens"]
    assert isinstance(added, list)
    added += [added_token(size + place, text, special=False) for place, text in enumerate(("<|fim_pad|>", "<unused7>"))]
    assert read_folder(write_files(tmp_path, document), size + 2).types[size:] == (gguf.TokenType.CONTROL,) * 2


def test_an_added_token_without_a_row_is_left_out(tmp_path: Path) -> None:
    """As Gemma 3's <image_soft_token> in its text models."""
    document = byte_pair_json([BYTES | {"use_regex": True}])
    size = size_of(document) - 1
    vocabulary = read_folder(write_files(tmp_path, document), size)
    assert len(vocabulary.tokens) == size
    assert PLAIN_TEXTS[-1].encode() not in vocabulary.tokens
