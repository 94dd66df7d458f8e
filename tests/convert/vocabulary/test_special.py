"""Which tokens begin and end a text, and what is put there without being asked for."""

import json
from pathlib import Path

import pytest

from localllm.errors import LoadFailed
from tests.convert.vocabulary.byte_pair_files import (
    END,
    START,
    TURN,
    Json,
    added_token,
    byte_pair_json,
    size_of,
    write_files,
)
from tests.convert.vocabulary.sentencepiece_files import trained, write_model
from tests.convert.vocabulary.tokenizers_at_work import read_folder, tokenizing

GPT_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MORE = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|user|>", "<|observation|>")


def document_of(*more: str, **changes: object) -> tuple[Json, dict[str, int]]:
    """A tokenizer.json with more control tokens, and the ids of all that it added."""
    document = byte_pair_json([], **({"pre_tokenizer": GPT_2} | changes))
    added = document["added_tokens"]
    assert isinstance(added, list)
    size = size_of(document)
    added += [added_token(size + place, text, special=True) for place, text in enumerate(more)]
    return document, {token["content"]: token["id"] for token in added}


def template(*items: str) -> Json:
    """A post-processor that puts tokens around the text, which is $A."""
    single = [
        {"Sequence": {"id": "A", "type_id": 0}} if item == "$A" else {"SpecialToken": {"id": item, "type_id": 0}}
        for item in items
    ]
    inner = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}
    return {"type": "Sequence", "processors": [GPT_2, inner]}


def test_ids_come_by_text_first_then_by_number(tmp_path: Path) -> None:
    document, ids = document_of()
    size = size_of(document)
    files = write_files(
        tmp_path,
        document,
        eos_token=TURN,
        bos_token={"__type": "AddedToken", "content": START, "normalized": False},
        pad_token=None,
        unk_token="not there",
    )
    (files / "special_tokens_map.json").write_text(json.dumps({"eos_token": END, "sep_token": {"content": END}}))
    (files / "generation_config.json").write_text(json.dumps({"eos_token_id": [7], "pad_token_id": 5}))
    special = read_folder(files, size, bos_token_id=3, eos_token_id=4, unk_token_id=6, pad_token_id=-1).special
    assert special == {
        "bos": ids[START],
        "eos": ids[TURN],
        "seperator": ids[END],
        "padding": 5,
        "unknown": 6,
        "eot": 4,
        "eom": 7,
    }


def test_the_first_of_several_ends_counts(tmp_path: Path) -> None:
    document, ids = document_of()
    files = write_files(tmp_path, document, eos_token=None)
    assert read_folder(files, size_of(document), eos_token_id=[ids[END], ids[START]]).special["eos"] == ids[END]


@pytest.mark.parametrize(
    ("eos", "ends", "expected"),
    [
        pytest.param("<|eot_id|>", ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], {"eom": "<|eom_id|>"}, id="chat"),
        pytest.param("<|end_of_text|>", [], {"eot": "<|eot_id|>", "eom": "<|eom_id|>"}, id="base"),
    ],
)
def test_llama_3_ends_turns_and_messages(eos: str, ends: list[str], expected: dict[str, str], tmp_path: Path) -> None:
    document, ids = document_of(*MORE)
    files = write_files(tmp_path / "files", document, eos_token=eos)
    vocabulary = read_folder(files, size_of(document), eos_token_id=[ids[text] for text in ends] or ids[eos])
    assert {name: vocabulary.special[name] for name in ("eot", "eom") if name in vocabulary.special} == {
        name: ids[text] for name, text in expected.items()
    }
    with tokenizing(vocabulary, tmp_path) as ours:
        assert {ids[text] for text in (eos, *ends, "<|eot_id|>", "<|eom_id|>")} <= ours.end_tokens


def test_ends_that_llama_cpp_does_not_know_by_text(tmp_path: Path) -> None:
    """As GLM 4, whose answers end where the user or a tool speaks."""
    document, ids = document_of("<|user|>", "<|observation|>")
    added = document["added_tokens"]
    assert isinstance(added, list)
    document["added_tokens"] = [token for token in added if token["content"] != TURN]
    files = write_files(tmp_path / "files", document, eos_token=END)
    ends = [ids[text] for text in (END, "<|user|>", "<|observation|>")]
    vocabulary = read_folder(files, size_of(document), eos_token_id=ends)
    assert (vocabulary.special["eot"], vocabulary.special["eom"]) == (ends[1], ends[2])
    with tokenizing(vocabulary, tmp_path) as ours:
        assert set(ends) <= ours.end_tokens


def test_a_turn_ends_by_text(tmp_path: Path) -> None:
    document, ids = document_of()
    files = write_files(tmp_path, document, eos_token=END)
    assert read_folder(files, size_of(document)).special["eot"] == ids[TURN]
    files = write_files(tmp_path, document, eos_token=TURN)
    assert "eot" not in read_folder(files, size_of(document)).special


def test_without_a_begin_there_is_none_to_put(tmp_path: Path) -> None:
    """llama.cpp would take token 11 for it; the end does less harm."""
    document, ids = document_of()
    files = write_files(tmp_path / "files", document, add_bos_token=True)
    vocabulary = read_folder(files, size_of(document))
    assert vocabulary.special["bos"] == ids[TURN]
    assert vocabulary.flags == {"add_bos_token": False, "add_eos_token": False}
    with tokenizing(vocabulary, tmp_path) as ours:
        assert ours.encode("", add_special=True, parse_special=False) == []


@pytest.mark.parametrize(
    ("processor", "settings", "expected"),
    [
        (None, {}, (False, False)),
        (None, {"add_bos_token": True}, (True, False)),
        (template(START, "$A"), {}, (True, False)),
        (template(START, "$A", TURN), {}, (True, True)),
        (template("$A", TURN), {}, (False, True)),
        (template("<think>", "$A"), {}, (False, False)),
        (template(START, "$A"), {"add_bos_token": False, "add_eos_token": True}, (False, True)),
        (GPT_2, {}, (False, False)),
    ],
)
def test_what_is_put_around_a_text(
    processor: Json | None, settings: Json, expected: tuple[bool, bool], tmp_path: Path
) -> None:
    document, ids = document_of(post_processor=processor)
    files = write_files(tmp_path / "files", document, bos_token=START, **settings)
    vocabulary = read_folder(files, size_of(document))
    assert (vocabulary.flags["add_bos_token"], vocabulary.flags["add_eos_token"]) == expected
    around = ([ids[START]] if expected[0] else [], [ids[TURN]] if expected[1] else [])
    with tokenizing(vocabulary, tmp_path) as ours:
        assert ours.encode("", add_special=True, parse_special=False) == [*around[0], *around[1]]


@pytest.mark.parametrize(("said", "expected"), [(None, True), (False, False), (True, True)])
def test_a_space_before_the_text_as_the_settings_say(said: bool | None, expected: bool, tmp_path: Path) -> None:
    files = write_model(tmp_path, trained(), tokenizer_config={"add_prefix_space": said})
    assert read_folder(files, 700).flags["add_space_prefix"] == expected


def test_sentencepiece_itself_knows_its_special_tokens(tmp_path: Path) -> None:
    assert read_folder(write_model(tmp_path, trained()), 700).special == {"bos": 1, "eos": 2, "unknown": 0}


@pytest.mark.parametrize(
    ("config", "generation", "message"),
    [
        ({"eos_token_id": 10**6}, {}, "config.json: eos_token_id is 1000000, and the embedding has"),
        ({"eos_token_id": 1}, {"bos_token_id": 10**6}, "generation_config.json: bos_token_id is 1000000"),
        ({"eos_token_id": 1.5}, {}, r"config.json: eos_token_id is 1.5"),
        ({"eos_token_id": "one"}, {}, r"config.json: eos_token_id is 'one'"),
        ({"eos_token_id": 1}, {"eos_token_id": "one"}, r"generation_config.json .*eos_token_id"),
        ({}, {}, r"no file says which token ends a text \(eos_token\)"),
        ({"eos_token_id": -1}, {}, r"no file says which token ends a text \(eos_token\)"),
    ],
)
def test_ids_that_are_none_are_refused(config: Json, generation: Json, message: str, tmp_path: Path) -> None:
    document, _ = document_of()
    files = write_files(tmp_path, document, eos_token=None)
    (files / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(LoadFailed, match=message):
        read_folder(files, size_of(document), **config)


def test_padding_beyond_the_embedding_is_left_out(tmp_path: Path) -> None:
    """Fine-tuned models often name a token for it that they never had a row for."""
    document, _ = document_of()
    files = write_files(tmp_path, document)
    assert "padding" not in read_folder(files, size_of(document), pad_token_id=size_of(document)).special
