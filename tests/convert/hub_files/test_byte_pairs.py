"""Byte pairs out of a GGUF file: the ids of the library `tokenizers` are those of llama.cpp."""

import json
from collections.abc import Sequence
from pathlib import Path

import gguf
import msgspec
import pytest

from localllm.convert.hub_files.cuts import names_alike
from localllm.convert.hub_files.write import tokenizer_files
from localllm.convert.vocabulary.pre_tokenizers import KNOWN, Cut
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.convert.vocabulary.write import add_vocabulary
from localllm.errors import LoadFailed
from localllm.models.local import LocalModel
from tests.convert.vocabulary import tokenizers_at_work
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
from tests.convert.vocabulary.tokenizers_at_work import read_folder, write_model
from tests.marks import mostly_slow
from tests.tiny import byte_names

pytest.importorskip("tokenizers", reason="the library tokenizers, of the extra executorch, is missing")

from tests.convert.hub_files.at_work import (
    MANY,
    check_ids,
    check_pieces,
    check_tokens,
    llama_tokenizer,
    load_folder,
    random_texts,
    rebuilt,
)
from tests.convert.vocabulary.test_byte_pairs import CHATS, INEXACT, lacking_merges

CUTS = {name: cut for cut in KNOWN for name in sorted(names_alike(cut.name))}
GPT_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def document_for(cut: Cut) -> Json:
    steps = [json.loads(step) | {"trim_offsets": True} for step in cut.steps]
    return lacking_merges(byte_pair_json(steps, model_ignore_merges=cut.ignores_merges))


def vocabulary_of(document: Json, folder: Path, **settings: object) -> Vocabulary:
    return read_folder(write_files(folder, document, **settings), size_of(document))


@pytest.mark.parametrize("name", mostly_slow(CUTS, *(cut.name for cut in KNOWN)))
def test_every_name_makes_the_ids_of_llama_cpp(name: str, tmp_path: Path) -> None:
    cut = CUTS[name]
    vocabulary = vocabulary_of(document_for(cut), tmp_path / "files", bos_token=START, chat_template="{{ x }}")
    model = write_model(msgspec.structs.replace(vocabulary, pre=name), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    texts = [text for text in (*MANY, *CHATS) if text not in INEXACT.get(cut.name, [])]
    assert len(texts) >= 58
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, texts)
    check_pieces(ours, texts)


@pytest.mark.parametrize("cut", KNOWN, ids=lambda cut: cut.name)
def test_what_was_converted_comes_back(cut: Cut, tmp_path: Path) -> None:
    """From a tokenizer.json to a GGUF file and back: the same tokenizer, and the same vocabulary once more."""
    document = document_for(cut)
    settings = {"bos_token": START, "pad_token": END, "chat_template": "{{ x }}"}
    original = write_files(tmp_path / "original", document, **settings)
    vocabulary = read_folder(original, size_of(document))
    folder = tmp_path / "rebuilt"
    ours, theirs = rebuilt(write_model(vocabulary, tmp_path / "model.gguf"), folder), load_folder(original)
    check_tokens(ours, theirs)
    check_ids(ours, theirs, [*MANY, *CHATS])
    assert read_folder(folder, size_of(document)) == vocabulary


def test_the_same_file_makes_the_same_bytes(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(byte_pair_json(pre_tokenizer=GPT_2), tmp_path / "files")
    model = write_model(vocabulary, tmp_path / "model.gguf")
    assert tokenizer_files(model) == tokenizer_files(model)
    assert list(tokenizer_files(model)) == ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]


def test_random_texts(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(document_for(KNOWN[1]), tmp_path / "files", add_bos_token=True, bos_token=START)
    model = write_model(vocabulary, tmp_path / "model.gguf")
    with llama_tokenizer(model) as theirs:
        check_ids(rebuilt(model, tmp_path / "rebuilt"), theirs, random_texts([*CONTROL_TEXTS, *PLAIN_TEXTS]))


def test_a_plain_token_inside_the_name_of_a_control_token(tmp_path: Path) -> None:
    """Where the name is only text, the plain token in it is found."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    added = document["added_tokens"]
    assert isinstance(added, list)
    size = size_of(document)
    added += [added_token(size, "<|tool|>", special=True), added_token(size + 1, "tool", special=False)]
    model = write_model(vocabulary_of(document, tmp_path / "files"), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_ids(ours, theirs, ["a<|tool|>b", "tool", "<|tool|><|tool|>"])
    assert ours.encode("<|tool|>", add_special=False, parse_special=False).count(size + 1) == 1


def test_tokens_without_a_text_are_control_tokens(tmp_path: Path) -> None:
    """An embedding has more rows than the tokenizer has tokens; llama.cpp shows nothing for them either."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    size = size_of(document)
    model = write_model(read_folder(write_files(tmp_path / "files", document), size + 3), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
    assert [ours.piece(place) for place in range(size, size + 4)] == [b""] * 4


def test_names_that_llama_cpp_takes_otherwise_than_the_file(tmp_path: Path) -> None:
    """Plain ones that end answers, and control ones that are shown (gpt-oss)."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    added = document["added_tokens"]
    assert isinstance(added, list)
    texts = ("<end_of_turn>", "<fim_prefix>", "<REPO>", "<|return|>", "<|call|>", "<|end|>", "<|channel|>", "</s>")
    size = size_of(document)
    added += [added_token(size + place, text, special=text.startswith("<|")) for place, text in enumerate(texts)]
    places = {text: size + place for place, text in enumerate(texts)}
    vocabulary = vocabulary_of(document, tmp_path / "files")
    special = {**vocabulary.special, "eot": places["<|end|>"]}
    model = write_model(msgspec.structs.replace(vocabulary, special=special), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, [f"a{text} b{text}" for text in texts])
    assert {places["<end_of_turn>"], places["<REPO>"], places["</s>"], places["<|call|>"]} < ours.end_tokens
    assert places["<|end|>"] not in ours.end_tokens
    assert ours.piece(places["<|channel|>"]) == b"<|channel|>"
    assert ours.piece(places["<fim_prefix>"]) == b""


def test_a_strikethrough_may_be_a_word(tmp_path: Path) -> None:
    """As in Gemma 4."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    added = document["added_tokens"]
    assert isinstance(added, list)
    size = size_of(document)
    added += [added_token(size, "</s>", special=False), added_token(size + 1, "<|tool_response>", special=True)]
    model = write_model(vocabulary_of(document, tmp_path / "files"), tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        assert ours.end_tokens == theirs.end_tokens
    assert (size in ours.end_tokens, size + 1 in ours.end_tokens) == (False, True)


def test_tokens_of_phi_3_eat_the_spaces_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    added = document["added_tokens"]
    assert isinstance(added, list)
    texts = ("<s>", "</s>", "<unk>", "<|user|>")
    added += [added_token(size_of(document) + place, text, special=True) for place, text in enumerate(texts)]
    vocabulary = vocabulary_of(document, tmp_path / "files")

    def add_named(writer: gguf.GGUFWriter, held: Vocabulary) -> None:
        writer.add_name("Phi-3-mini")
        add_vocabulary(writer, held)

    monkeypatch.setattr(tokenizers_at_work, "add_vocabulary", add_named)
    model = write_model(vocabulary, tmp_path / "model.gguf")
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_ids(ours, theirs, [f"a {text} \n b{text}c {text}" for text in (*texts, *CONTROL_TEXTS, *PLAIN_TEXTS)])
    ids = [ours.encode(text, add_special=False, parse_special=True) for text in ("<|user|>\n x", "<|user|>x")]
    assert ids[0] == ids[1]


def test_a_merge_that_makes_no_token_is_left_out(tiny_model: Path, tmp_path: Path) -> None:
    ours = rebuilt(tiny_model, tmp_path)
    assert json.loads(tokenizer_files(tiny_model)["tokenizer.json"])["model"]["merges"] == []
    with llama_tokenizer(tiny_model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, [*MANY, *CHATS])
    check_pieces(ours, [*MANY, *CHATS])


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (["a b", "ab c"], r"merges has 'a(b c| b)', which makes no token, and others build on it"),
        (["a b", "b Ġ"], r"merges has '.*', which makes no token, and others build on it"),
        (["ab"], r"tokenizer.ggml.merges\[0\] is 'ab', not two tokens"),
        (["a b", "b "], r"tokenizer.ggml.merges\[1\] is 'b ', not two tokens"),
    ],
)
def test_merges_that_would_change_ids_are_refused(merges: Sequence[str], message: str, tmp_path: Path) -> None:
    letters = tuple(name.encode() for name in byte_names())
    vocabulary = Vocabulary(
        model="gpt2", pre="gpt-2", tokens=letters, types=(gguf.TokenType.NORMAL,) * 256, merges=tuple(merges)
    )
    model = write_model(vocabulary, tmp_path / "model.gguf")
    with pytest.raises(LoadFailed, match=message):
        tokenizer_files(model)


@pytest.mark.real_model
@pytest.mark.slow
def test_the_starter_model(starter_model: LocalModel, tmp_path: Path) -> None:
    ours = rebuilt(Path(starter_model.path), tmp_path)
    chats = [f"{START}user\nHi{TURN}\n{START}assistant\n", f"a{END}b <reponame> {TURN} c", f"x{TURN}{TURN}12 {START}"]
    with llama_tokenizer(Path(starter_model.path)) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, [*MANY, *chats, *random_texts([END, START, TURN])])
    check_pieces(ours, [*MANY, *chats])
