"""Tokenizers as the hub has them: ids and bytes, what begins and ends texts, and files that are not right."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localllm.engines.base import Tokenizer
from localllm.errors import EngineError, LoadFailed
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
)
from tests.convert.vocabulary.sentencepiece_files import SPACE, ranked_json, trained
from tests.convert.vocabulary.texts import MARKS, TEXTS

pytest.importorskip("tokenizers", reason="the library tokenizers, of the extra executorch, is missing")

from localllm.engines.executorch import hub_files, tokenizer
from localllm.engines.executorch.tokenizer import HubTokenizer

GPT_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
REPLACE: Json = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND: Json = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, REPLACE]}
CHAT = f"{START}user\n{PLAIN_TEXTS[0]}Hi{TURN}"

Files = dict[str, str]


def document_of(**changes: object) -> Json:
    return byte_pair_json(**({"pre_tokenizer": GPT_2} | changes))  # type: ignore[arg-type]


DOCUMENT = document_of()
SIZE = size_of(DOCUMENT)
IDS = {text: SIZE - 5 + place for place, text in enumerate((*CONTROL_TEXTS, *PLAIN_TEXTS))}


def write(folder: Path, document: object = None, **others: object) -> Files:
    """Files by name: tokenizer.json, and others by their names without the suffix; a text goes into a .jinja."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(DOCUMENT if document is None else document), "utf-8")
    others.setdefault("tokenizer_config", {"eos_token": TURN})
    for name, content in others.items():
        if isinstance(content, str):
            (folder / f"{name}.jinja").write_text(content, "utf-8")
        else:
            (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return {path.name: str(path) for path in folder.iterdir()}


def load(folder: Path, document: object = None, **others: object) -> HubTokenizer:
    return HubTokenizer.load(write(folder, document, **others))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> HubTokenizer:
    return load(tmp_path_factory.mktemp("plain"))


def ids_of(one: HubTokenizer, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
    return one.encode(text, add_special=add_special, parse_special=parse_special)


def joined(one: HubTokenizer, ids: list[int]) -> bytes:
    return b"".join(map(one.piece, ids))


def test_it_is_a_tokenizer(plain: HubTokenizer) -> None:
    one: Tokenizer = plain
    assert one.vocab_size == SIZE


@pytest.mark.parametrize(
    ("document", "prefix", "always"),
    [
        pytest.param(document_of(), "", True, id="bytes"),
        pytest.param(
            document_of(pre_tokenizer=GPT_2 | {"add_prefix_space": True}), " ", False, id="bytes with a space"
        ),
        pytest.param(ranked_json(trained(), PREPEND, None, special=("<s>", "</s>")), " ", True, id="Llama 2"),
        pytest.param(ranked_json(trained(), REPLACE, None, special=("<s>", "</s>")), "", True, id="Gemma"),
    ],
)
def test_pieces_are_the_bytes_of_a_text(document: Json, prefix: str, always: bool, tmp_path: Path) -> None:
    """Behind the space that some put before a text, one of them only where none is there."""
    one = load(tmp_path, document, tokenizer_config={"eos_token": END}, generation_config={"eos_token_id": 2})
    for text in (*TEXTS, *MARKS, f"{START}</s><s>"):
        before = prefix if text and (always or text[0] != " ") else ""
        assert joined(one, ids_of(one, text)) == f"{before}{text}".encode(), text


def test_names_of_control_tokens_are_text_unless_they_are_asked_for(plain: HubTokenizer) -> None:
    as_text, as_names = ids_of(plain, CHAT), ids_of(plain, CHAT, parse_special=True)
    assert joined(plain, as_text) == CHAT.encode()
    assert not {IDS[text] for text in CONTROL_TEXTS}.intersection(as_text)
    assert (as_names[0], as_names[-1]) == (IDS[START], IDS[TURN])
    for ids in (as_text, as_names):
        assert ids.count(IDS[PLAIN_TEXTS[0]]) == 1


def test_pieces_of_tokens_that_are_no_text(plain: HubTokenizer) -> None:
    assert [plain.piece(IDS[text]) for text in CONTROL_TEXTS] == [b""] * 3
    assert [plain.piece(IDS[text]) for text in PLAIN_TEXTS] == [text.encode() for text in PLAIN_TEXTS]
    assert [plain.piece(token) for token in (SIZE, SIZE + 10**9, -1)] == [b""] * 3


def test_what_looks_like_a_control_token_is_one(tmp_path: Path) -> None:
    """Some checkpoints list such as plain; llama.cpp's converter goes by the look."""
    document = document_of()
    added = document["added_tokens"]
    assert isinstance(added, list)
    added.append(added_token(SIZE, "<|fim_pad|>", special=False))
    one = load(tmp_path, document)
    assert (one.piece(SIZE), SIZE in one.end_tokens) == (b"", True)
    assert SIZE not in ids_of(one, "<|fim_pad|>")
    assert ids_of(one, "<|fim_pad|>", parse_special=True) == [SIZE]


def test_a_merge_never_makes_a_control_token(tmp_path: Path) -> None:
    """Not even where a tokenizer.json has one for it."""
    document = document_of()
    model, added = document["model"], document["added_tokens"]
    assert isinstance(model, dict)
    assert isinstance(added, list)
    model["vocab"] |= {"he": model["vocab"].get("he", SIZE), "hel": SIZE + 1}
    model["merges"] = [["h", "e"], ["he", "l"]]
    added.append(added_token(SIZE + 1, "hel", special=True))
    one = load(tmp_path, document)
    assert ids_of(one, "hel", parse_special=True) == [SIZE + 1]
    assert joined(one, ids_of(one, "hel")) == b"hel"


def test_a_word_that_stays_whole_is_no_control_token(tmp_path: Path) -> None:
    """As with Llama 3, where words that are tokens are not merged (ignore_merges)."""
    document = document_of(model_ignore_merges=True)
    model, added = document["model"], document["added_tokens"]
    assert isinstance(model, dict)
    assert isinstance(added, list)
    model["vocab"]["halt"] = SIZE
    added.append(added_token(SIZE, "halt", special=True))
    one = load(tmp_path, document)
    assert ids_of(one, "halt", parse_special=True) == [SIZE]
    assert joined(one, ids_of(one, "halt")) == b"halt"


def test_ids_without_a_token(tmp_path: Path) -> None:
    document = document_of()
    added = document["added_tokens"]
    assert isinstance(added, list)
    added.append(added_token(SIZE + 5, "<late>", special=False))
    one = load(tmp_path, document)
    assert one.vocab_size == SIZE + 6
    assert [one.piece(SIZE + place) for place in (0, 5)] == [b"", b"<late>"]
    assert ids_of(one, "a<late>")[-1] == SIZE + 5


def test_truncation_and_padding_are_not_done(tmp_path: Path) -> None:
    limits = {
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 50},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": END,
        },
    }
    one = load(tmp_path, document_of(**limits))
    assert joined(one, ids_of(one, "one two three four")) == b"one two three four"


def test_halves_of_surrogate_pairs_are_replaced(plain: HubTokenizer) -> None:
    assert joined(plain, ids_of(plain, "a\ud800b")) == b"a?b"


def template(*items: str) -> Json:
    """A post-processor that puts tokens around the text, which is $A."""
    single = [
        {"Sequence": {"id": "A", "type_id": 0}} if item == "$A" else {"SpecialToken": {"id": item, "type_id": 0}}
        for item in items
    ]
    special = {text: {"id": text, "ids": [IDS[text]], "tokens": [text]} for text in items if text != "$A"}
    inner = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}
    return {"type": "Sequence", "processors": [GPT_2, inner]}


ROBERTA: Json = {
    "type": "RobertaProcessing",
    "sep": [END, IDS[END]],
    "cls": [START, IDS[START]],
    "trim_offsets": True,
    "add_prefix_space": False,
}


@pytest.mark.parametrize(
    ("processor", "settings", "before", "behind"),
    [
        (None, {}, [], []),
        (GPT_2, {}, [], []),
        (template(START, "$A"), {}, [START], []),
        (template(START, "$A", TURN), {}, [START], [TURN]),
        (template(END, START, "$A"), {}, [END, START], []),
        (ROBERTA, {}, [START], [END]),
        (None, {"add_bos_token": True}, [START], []),
        (None, {"add_bos_token": True, "add_eos_token": True}, [START], [TURN]),
        (template(START, "$A", TURN), {"add_bos_token": False}, [], [TURN]),
        (template(START, "$A"), {"add_bos_token": True, "add_eos_token": False}, [START], []),
    ],
)
def test_what_is_put_around_a_text(
    processor: Json | None, settings: Json, before: list[str], behind: list[str], tmp_path: Path
) -> None:
    settings = {"bos_token": START, "eos_token": TURN} | settings
    one = load(tmp_path, document_of(post_processor=processor), tokenizer_config=settings)
    for text in ("", "some text"):
        for parse_special in (False, True):
            ids = ids_of(one, text, add_special=True, parse_special=parse_special)
            around = [IDS[text] for text in before], [IDS[text] for text in behind]
            assert ids == [*around[0], *ids_of(one, text, parse_special=parse_special), *around[1]]


@pytest.mark.parametrize(
    ("others", "said", "expected"),
    [
        pytest.param({}, {}, ("", TURN, set()), id="a text"),
        pytest.param(
            {"tokenizer_config": {"bos_token": {"content": START, "lstrip": False}, "eos_token": {"content": END}}},
            {},
            (START, END, {TURN}),
            id="tokens in full",
        ),
        pytest.param(
            {"tokenizer_config": {"bos_token": None}, "special_tokens_map": {"bos_token": START, "eos_token": END}},
            {},
            (START, END, {TURN}),
            id="the map",
        ),
        pytest.param(
            {"tokenizer_config": {"eos_token": "not there"}},
            {"end_tokens": (IDS[START], 7), "bos_token": IDS[END]},
            (END, START, {TURN, "7"}),
            id="the model",
        ),
        pytest.param(
            {"tokenizer_config": {"bos_token": START, "eos_token": TURN}},
            {"end_tokens": (7,), "bos_token": IDS[END]},
            (START, TURN, {"7"}),
            id="the files win",
        ),
        pytest.param(
            {"tokenizer_config": {}, "generation_config": {"bos_token_id": IDS[START], "eos_token_id": [IDS[TURN], 9]}},
            {},
            (START, TURN, {"9"}),
            id="numbers",
        ),
        pytest.param(
            {"tokenizer_config": {}, "generation_config": {"bos_token_id": -1, "eos_token_id": IDS[END]}},
            {},
            ("", END, {TURN}),
            id="a number",
        ),
    ],
)
def test_what_begins_and_ends(
    others: dict[str, object], said: dict[str, object], expected: tuple[str, str, set[str]], tmp_path: Path
) -> None:
    one = HubTokenizer.load(write(tmp_path, **others), **said)  # type: ignore[arg-type]
    bos, eos, more = expected
    assert (one.bos, one.eos) == (bos, eos)
    named = {IDS[text] if text in IDS else int(text) for text in {eos, END, *more}}
    assert one.end_tokens == named | {IDS[TURN]}


@pytest.mark.parametrize(
    ("settings", "jinja", "expected"),
    [
        ({}, None, None),
        ({"chat_template": "config"}, None, "config"),
        ({"chat_template": "config"}, "jinja é", "jinja é"),
        ({"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]}, None, "y"),
        ({"chat_template": [{"name": "tool_use", "template": "x"}]}, None, None),
        ({"chat_template": ""}, None, None),
    ],
)
def test_chat_templates(settings: Json, jinja: str | None, expected: str | None, tmp_path: Path) -> None:
    others: dict[str, object] = {"tokenizer_config": {"eos_token": TURN} | settings}
    if jinja is not None:
        others["chat_template"] = jinja
    assert load(tmp_path, **others).chat_template == expected


def test_two_threads_that_ask_for_different_things(plain: HubTokenizer) -> None:
    expected = {asked: ids_of(plain, CHAT, parse_special=asked) for asked in (False, True)}
    assert expected[False] != expected[True]

    def many(asked: bool) -> bool:
        return all(ids_of(plain, CHAT, parse_special=asked) == expected[asked] for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(many, (False, True, False, True)))


def test_a_text_that_the_library_fails_at(tmp_path: Path) -> None:
    """An expression that tries every way to cut: the library gives up with a panic."""
    endless: Json = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+b"},
        "behavior": "Isolated",
        "invert": False,
    }
    steps = {"type": "Sequence", "pretokenizers": [endless, GPT_2]}
    one = load(tmp_path, document_of(pre_tokenizer=steps))
    with pytest.raises(EngineError, match=r"the tokenizer failed at a text of 41 letters: .*retry-limit") as caught:
        ids_of(one, "a" * 40 + "c")
    assert "\n" not in caught.value.message
    assert joined(one, ids_of(one, "cab")) == b"cab"


def test_an_interrupt_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = write(tmp_path)

    class Interrupted:
        @staticmethod
        def from_str(document: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "Native", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        HubTokenizer.load(files)


# Files that are not right


def with_model(**fields: object) -> Json:
    return document_of(**{f"model_{name}": value for name, value in fields.items()})


def with_vocab(**places: object) -> Json:
    document = document_of()
    model = document["model"]
    assert isinstance(model, dict)
    model["vocab"] |= places
    return document


def with_added(**fields: object) -> Json:
    document = document_of()
    added = document["added_tokens"]
    assert isinstance(added, list)
    added.append(added_token(SIZE, "<x>", special=True) | fields)
    return document


def without(field: str) -> Json:
    return {key: value for key, value in document_of().items() if key != field}


def nested(depth: int) -> Json:
    step: Json = GPT_2
    for _ in range(depth):
        step = {"type": "Sequence", "pretokenizers": [step]}
    return document_of(pre_tokenizer=step)


def split(regex: str) -> Json:
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return document_of(pre_tokenizer={"type": "Sequence", "pretokenizers": [step, GPT_2]})


def processing(**fields: object) -> Json:
    base: Json = {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    return document_of(post_processor=base | fields)


WORD_PIECE: Json = {
    "type": "WordPiece",
    "unk_token": "a",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 9,
    "vocab": {"a": 0},
}
SEQUENCE = {"Sequence": {"id": "A", "type_id": 0}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], "tokenizer.json is not as it should be: Expected `object`, got `array`", id="a list"),
        pytest.param(without("model"), "tokenizer.json is not as it should be: .*`model`", id="no model"),
        pytest.param(document_of(model=WORD_PIECE), "tokenizer.json: model.type is 'WordPiece'; only BPE", id="words"),
        pytest.param(with_model(type="Unigram", vocab=[["a", -1]]), "model.type is 'Unigram'; only BPE", id="unigrams"),
        pytest.param(with_model(vocab=[]), r"tokenizer.json: model is not .*\$.vocab", id="a list of tokens"),
        pytest.param(with_model(vocab={}, merges=[]) | {"added_tokens": []}, "has no tokens", id="no tokens"),
        pytest.param(with_vocab(strange="1"), r"tokenizer.json: model is not .*\$.vocab", id="an id in letters"),
        pytest.param(with_vocab(strange=-1), r"tokenizer.json: model is not .*\$.vocab", id="a negative id"),
        pytest.param(with_vocab(strange=4_000_000_000), r"tokenizer.json: model is not .*<= 2097151", id="a large id"),
        pytest.param(with_vocab(strange=0), "tokenizer.json: '.*' and 'strange' both have id 0", id="two with one id"),
        pytest.param(with_added(content=END), rf"'{END}' has the ids \d+ and {SIZE}".replace("|", r"\|"), id="two ids"),
        pytest.param(with_added(content=""), r"tokenizer.json is not .*\$.added_tokens\[5\].content", id="empty"),
        pytest.param(with_added(id=None), r"tokenizer.json is not .*\$.added_tokens\[5\].id", id="no id"),
        pytest.param(with_model(merges=[["a", "☃"]]), "tokenizer.json is not .*out of vocabulary", id="no such merge"),
        pytest.param(with_model(merges=["a b c"]), "tokenizer.json is not as it should be: ", id="a merge of three"),
        pytest.param(with_model(merges=[["a"]]), r"tokenizer.json: model is not .*\$.merges", id="a merge of one"),
        pytest.param(with_model(dropout=0.5), "tokenizer.json: model.dropout is set", id="at random"),
        pytest.param(with_model(end_of_word_suffix="</w>"), "model.end_of_word_suffix is set", id="ends of words"),
        pytest.param(document_of(pre_tokenizer={"type": "Whitespace"}), "neither of bytes", id="neither kind"),
        pytest.param(document_of(normalizer={"type": "Nope"}), "tokenizer.json is not as it should be", id="a step"),
        pytest.param(document_of(normalizer={"type": "Sequence"}), "without its list of normalizers", id="no steps"),
        pytest.param(document_of(decoder={"type": {}}), "a step among decoders has no type", id="a step of no type"),
        pytest.param(split("(a"), "tokenizer.json is not .*parenthesis", id="a broken expression"),
        pytest.param(nested(150), "tokenizer.json is not as it should be: .*recursion limit", id="deep"),
        pytest.param(document_of(post_processor={"type": "Nope"}), "post_processor is 'Nope'", id="a processor"),
        pytest.param(processing(), "post_processor does not put tokens around one text", id="around nothing"),
        pytest.param(processing(single=[SEQUENCE, SEQUENCE]), "does not put tokens around one text", id="two texts"),
        pytest.param(
            processing(single=[{"SpecialToken": {"id": "x"}}, SEQUENCE]), "tokens around one text", id="around unknown"
        ),
        pytest.param(
            processing(single=[{"SpecialToken": {"id": "x"}}, SEQUENCE], special_tokens={"x": {"ids": [10**7]}}),
            f"tokenizer.json: post_processor names token 10000000, and tokenizer.json has {SIZE}",
            id="around beyond",
        ),
    ],
)
def test_a_tokenizer_json_that_is_not_right(document: object, message: str, tmp_path: Path) -> None:
    check_refused(write(tmp_path, document), message)


def check_refused(files: Files, message: str, **said: object) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        HubTokenizer.load(files, **said)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "tokenizer.json is not as it should be: Input data was truncated"),
        (b"{", "tokenizer.json is not as it should be: Input data was truncated"),
        (b"hello", "tokenizer.json is not as it should be: JSON is malformed"),
        (b'{"model": "\xff"}', r"tokenizer.json is not UTF-8 \(byte 11\)"),
        (b"GGUF\x03\0\0\0", "tokenizer.json is not as it should be: "),
        (b'{"a":' * 50_000, "tokenizer.json is not as it should be: "),
    ],
    ids=["empty", "cut off", "text", "not UTF-8", "another file", "endless"],
)
def test_a_tokenizer_json_that_is_no_json(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    check_refused({"tokenizer.json": str(path)}, message)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"tokenizer_config": []}, "tokenizer_config.json is not as it should be"),
        ({"tokenizer_config": {"eos_token": 5}}, r"tokenizer_config.json is not .*\$.eos_token"),
        ({"tokenizer_config": {"chat_template": 5}}, r"tokenizer_config.json is not .*\$.chat_template"),
        ({"tokenizer_config": {"chat_template": [{"name": "x"}]}}, "tokenizer_config.json is not .*`template`"),
        ({"tokenizer_config": {"add_bos_token": "yes"}}, r"tokenizer_config.json is not .*\$.add_bos_token"),
        ({"special_tokens_map": {"bos_token": []}}, r"special_tokens_map.json is not .*\$.bos_token"),
        ({"generation_config": {"eos_token_id": "2"}}, r"generation_config.json is not .*\$.eos_token_id"),
        ({"generation_config": {"eos_token_id": 10**7}}, "generation_config.json names token 10000000, and"),
        ({"generation_config": {"bos_token_id": [1, 10**7]}}, "generation_config.json names token 10000000, and"),
    ],
)
def test_other_files_that_are_not_right(others: dict[str, object], message: str, tmp_path: Path) -> None:
    check_refused(write(tmp_path, **others), message)


@pytest.mark.parametrize("said", [{"end_tokens": [1, SIZE]}, {"end_tokens": [-1]}, {"bos_token": SIZE}])
def test_a_tokenizer_of_another_model(said: dict[str, object], tmp_path: Path) -> None:
    check_refused(write(tmp_path), f"the model names token .*, and tokenizer.json has {SIZE}: it belongs", **said)


def test_an_answer_must_end(tmp_path: Path) -> None:
    document = document_of(added_tokens=[])
    check_refused(write(tmp_path, document, tokenizer_config={}), "no file says which token ends an answer")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "there is no tokenizer.json beside the model; get"),
        (["tokenizer_config.json"], "there is no tokenizer.json beside the model; get"),
        (["tokenizer.model"], r"there is no tokenizer.json beside the model \(tokenizer.model is not read\); get"),
    ],
)
def test_a_tokenizer_json_is_needed(names: list[str], message: str, tmp_path: Path) -> None:
    check_refused({name: str(tmp_path / name) for name in names}, message)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes in this file system")
    os.mkfifo(path)


@pytest.mark.parametrize("make", [lambda path: None, a_folder, a_pipe], ids=["nothing", "a folder", "a pipe"])
@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "chat_template.jinja"])
def test_what_is_no_file(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    other = tmp_path / "other"
    make(other)
    check_refused(write(tmp_path / "files") | {name: str(other)}, f"{name} is missing or no file")


def test_a_path_that_is_none(tmp_path: Path) -> None:
    check_refused({"tokenizer.json": "\0"}, "tokenizer.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_larger_than_any(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path)
    monkeypatch.setattr(hub_files, "_MOST_BYTES", {name: Path(files[name]).stat().st_size - 1})
    check_refused(files, f"{name} has more than .*, as none has")
    monkeypatch.setattr(hub_files, "_MOST_BYTES", {name: Path(files[name]).stat().st_size})
    assert HubTokenizer.load(files).vocab_size == SIZE
