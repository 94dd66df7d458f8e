"""Tokenizer files that cannot be used: one error, which names the file and the field."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2 as proto

from localllm.errors import LoadFailed
from tests.convert.vocabulary.byte_pair_files import (
    PLAIN_TEXTS,
    Json,
    added_token,
    byte_pair_json,
    size_of,
    write_files,
)
from tests.convert.vocabulary.sentencepiece_files import BEGIN, ranked_json, trained, write_model
from tests.convert.vocabulary.tokenizers_at_work import read_folder

GPT_2: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
TIKTOKEN = "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256)).encode()
REPLACE: Json = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
SIZE = 700


def model_of(document: Json) -> Json:
    model = document["model"]
    assert isinstance(model, dict)
    return model


def with_model(**fields: object) -> Json:
    changes = {f"model_{name}": value for name, value in fields.items()}
    return byte_pair_json([], pre_tokenizer=GPT_2, **changes)


def with_token(text: str, place: object) -> Json:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    model = model_of(document)
    assert isinstance(model["vocab"], dict)
    model["vocab"] |= {text: place}
    return document


def with_merge(merge: object) -> Json:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    model = model_of(document)
    assert isinstance(model["merges"], list)
    model["merges"].append(merge)
    return document


def with_added(place: object, text: object, **fields: object) -> Json:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    assert isinstance(document["added_tokens"], list)
    document["added_tokens"].append({**added_token(0, "", special=True), "id": place, "content": text} | fields)
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (with_model(type="Unigram"), "tokenizer.json: model.type is 'Unigram'; only BPE"),
        (with_model(type="WordPiece"), "tokenizer.json: model.type is 'WordPiece'; only BPE"),
        (with_model(type=7), r"tokenizer.json: model .*\$.type"),
        (with_model(vocab=["a"]), r"tokenizer.json: model .*\$.vocab"),
        (with_model(merges=None), r"tokenizer.json: model .*\$.merges"),
        (with_model(dropout=0.1), "tokenizer.json: model.dropout is set"),
        (with_model(continuing_subword_prefix="##"), "tokenizer.json: model.continuing_subword_prefix is set"),
        (with_model(end_of_word_suffix="</w>"), "tokenizer.json: model.end_of_word_suffix is set"),
        (with_token("new", "7"), r"tokenizer.json: model .*\$.vocab"),
        (with_token("new", -1), r"tokenizer.json: model .*\$.vocab"),
        (with_token("new", 2**40), r"tokenizer.json: model .*\$.vocab"),
        (with_token("new", 0), "tokenizer.json: .* and 'new' both have id 0"),
        (with_token("new", 10**6), "tokenizer.json: token 'new' has id 1000000, and the embedding has"),
        (with_merge("a b c"), "tokenizer.json: model.merges.* is 'a b c', not two tokens"),
        (with_merge("ab"), "tokenizer.json: model.merges.* is 'ab', not two tokens"),
        (with_merge(["a", "b", "c"]), r"tokenizer.json: model .*\$.merges"),
        (with_merge(["unheard", "of"]), "tokenizer.json: model.merges.* has 'unheard', no token of model.vocab"),
        (with_added(0, "new"), "tokenizer.json: .* and 'new' both have id 0"),
        (with_added(SIZE, ""), r"tokenizer.json .*\$.added_tokens"),
        (with_added("7", "new"), r"tokenizer.json .*\$.added_tokens"),
        (with_added(0, 7), r"tokenizer.json .*\$.added_tokens"),
        (with_added(1, "new", special="yes"), r"tokenizer.json .*\$.added_tokens"),
        (byte_pair_json(pre_tokenizer=7), r"tokenizer.json .*\$.pre_tokenizer"),
        (byte_pair_json(pre_tokenizer={"type": "Sequence"}), "tokenizer.json: a Sequence without its list of pretok"),
        (byte_pair_json(pre_tokenizer=None), "tokenizer.json: pre_tokenizer cuts text in a way .*: nothing"),
        (byte_pair_json(pre_tokenizer={"type": "Whitespace"}), "tokenizer.json: pre_tokenizer cuts .*Whitespace"),
        (
            byte_pair_json(pre_tokenizer=GPT_2 | {"add_prefix_space": True}),
            'tokenizer.json: pre_tokenizer cuts .*"add_prefix_space": true',
        ),
        (byte_pair_json(pre_tokenizer={"type": "ByteLevel"}), "tokenizer.json: pre_tokenizer cuts"),
        *(
            (byte_pair_json(pre_tokenizer=GPT_2, normalizer={"type": kind}), f"tokenizer.json: normalizer is .*{kind}")
            for kind in ("NFKC", "NFD", "Lowercase", "StripAccents", "Replace", "Unheard")
        ),
        (
            byte_pair_json(pre_tokenizer=GPT_2, post_processor={"type": "TemplateProcessing"}),
            "tokenizer.json: post_processor has no template",
        ),
        ({}, r"tokenizer.json .*`model`"),
        ({"model": {}}, r"tokenizer.json: model .*`vocab`"),
    ],
)
def test_broken_byte_pairs(document: Json, message: str, tmp_path: Path) -> None:
    size = size_of(byte_pair_json())
    with pytest.raises(LoadFailed, match=message) as caught:
        read_folder(write_files(tmp_path, document), size)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 1000


def test_merges_of_spaces_cannot_be_written(tmp_path: Path) -> None:
    """llama.cpp would cut at the wrong space. No letter stands for a byte by a space, so this merges nothing."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    model = model_of(document)
    assert isinstance(model["vocab"], dict)
    model["vocab"] |= {" ": size_of(document), "a ": size_of(document) + 1}
    assert isinstance(model["merges"], list)
    model["merges"].append(["a", " "])
    with pytest.raises(LoadFailed, match=r"tokenizer.json: model.merges.* is \('a', ' '\), which a GGUF file cannot"):
        read_folder(write_files(tmp_path, document), size_of(document))


def test_an_added_token_that_is_another_already(tmp_path: Path) -> None:
    """llama.cpp ends the process over two tokens with one text."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    size = size_of(document)
    assert isinstance(document["added_tokens"], list)
    document["added_tokens"].append(added_token(size, PLAIN_TEXTS[0], special=False))
    with pytest.raises(LoadFailed, match=f"the tokenizer has '{PLAIN_TEXTS[0]}' twice, with ids {size - 2} and {size}"):
        read_folder(write_files(tmp_path, document), size + 1)


def test_texts_that_llama_cpp_reads_alike(tmp_path: Path) -> None:
    """It reads up to a NUL."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    size = size_of(document)
    assert isinstance(document["added_tokens"], list)
    document["added_tokens"] += [added_token(size + i, f"<x>\0{i}", special=False) for i in range(2)]
    with pytest.raises(LoadFailed, match="twice"):
        read_folder(write_files(tmp_path, document), size + 2)


def test_a_hole_is_never_called_like_a_token(tmp_path: Path) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    size = size_of(document)
    assert isinstance(document["added_tokens"], list)
    document["added_tokens"].append(added_token(size, f"[PAD{size + 1}]", special=False))
    tokens = read_folder(write_files(tmp_path, document), size + 2).tokens
    assert tokens[-2:] == (f"[PAD{size + 1}]".encode(), f"[[PAD{size + 1}]]".encode())


def test_files_that_do_not_agree(tmp_path: Path) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    place = size_of(document) - 1
    files = write_files(tmp_path, document, added_tokens_decoder={str(place): {"content": "<other>"}})
    with pytest.raises(LoadFailed, match=f"token {place} is .* in tokenizer.json and '<other>' in tokenizer_config"):
        read_folder(files, place + 1)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("tokenizer.json", b"{", "tokenizer.json is not as it should be"),
        ("tokenizer.json", b"", "tokenizer.json is not as it should be"),
        ("tokenizer.json", b"[" * 10**6, "tokenizer.json is not as it should be"),
        ("tokenizer.json", b'{"model": ' + b'{"a": ' * 10**5, "tokenizer.json is not as it should be"),
        ("tokenizer.json", b"\xff\xfe{}", "tokenizer.json is not as it should be"),
        ("tokenizer.json", b'{"model": {"vocab": {"\\ud800": 1}, "merges": []}}', "tokenizer.json"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json is not as it should be"),
        ("tokenizer_config.json", b'{"eos_token": 7}', r"tokenizer_config.json .*\$.eos_token"),
        ("tokenizer_config.json", b'{"add_bos_token": "yes"}', r"tokenizer_config.json .*\$.add_bos_token"),
        ("tokenizer_config.json", b'{"chat_template": 7}', r"tokenizer_config.json .*\$.chat_template"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"x": {"content": "a"}}}', "tokenizer_config.json"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"1": {}}}', r"tokenizer_config.json .*content"),
        ("special_tokens_map.json", b'{"bos_token": {}}', r"special_tokens_map.json .*\$.bos_token"),
        ("added_tokens.json", b'{"a": "b"}', r"added_tokens.json .*\$"),
        ("generation_config.json", b"7", "generation_config.json is not as it should be"),
        ("chat_template.jinja", b"\xff", "chat_template.jinja is not UTF-8"),
        ("chat_template.json", b"{", "chat_template.json is not as it should be"),
    ],
)
def test_broken_files(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    (write_files(tmp_path, document) / name).write_bytes(data)
    with pytest.raises(LoadFailed, match=message) as caught:
        read_folder(tmp_path, size_of(document), eos_token_id=0)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"])
def test_huge_files_are_not_read(name: str, tmp_path: Path) -> None:
    document = byte_pair_json(pre_tokenizer=GPT_2)
    with (write_files(tmp_path, document) / name).open("wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(LoadFailed, match=rf"{name} has more than \d+ MB, as none has"):
        read_folder(tmp_path, size_of(document))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(LoadFailed, match=r"tokenizer.json is missing or no file"):
        read_folder(tmp_path, SIZE)


Change = Callable[[proto.ModelProto], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.trainer_spec, "model_type", 1), "trainer_spec.model_type is UNIGRAM; only BPE"),
        (lambda model: setattr(model.trainer_spec, "model_type", 4), "trainer_spec.model_type is CHAR; only BPE"),
        (lambda model: model.ClearField("trainer_spec"), "trainer_spec.model_type is UNIGRAM; only BPE"),
        (
            lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", b"nmt"),
            "normalizer_spec.precompiled_charsmap asks",
        ),
        (
            lambda model: setattr(model.normalizer_spec, "remove_extra_whitespaces", True),
            "normalizer_spec.remove_extra_whitespaces asks",
        ),
        (
            lambda model: setattr(model.normalizer_spec, "escape_whitespaces", False),
            "normalizer_spec.escape_whitespaces asks",
        ),
        (
            lambda model: setattr(model.trainer_spec, "treat_whitespace_as_suffix", True),
            "trainer_spec.treat_whitespace_as_suffix asks",
        ),
        (lambda model: model.ClearField("pieces"), "tokenizer.model holds no pieces"),
        (lambda model: model.pieces.pop(258), "tokenizer.model has no token <0xFF>"),
        (lambda model: setattr(model.pieces[400], "score", float("nan")), "piece 400 has no text or no score"),
        (lambda model: setattr(model.pieces[400], "piece", BEGIN), "the tokenizer has '<s>' twice, with ids 1 and 400"),
        (lambda model: model.pieces.add(piece="more"), "tokenizer.model: token 'more' has id 700, and the embedding"),
    ],
)
def test_sentencepieces_of_another_kind(change: Change, message: str, tmp_path: Path) -> None:
    model = proto.ModelProto.FromString(trained())
    change(model)
    with pytest.raises(LoadFailed, match=message):
        read_folder(write_model(tmp_path, model.SerializeToString()), SIZE)


def test_a_piece_that_is_no_text(tmp_path: Path) -> None:
    data = trained().replace(b"\x0a\x05<unk>", b"\x0a\x05<\xff\xfe\xfd>")
    with pytest.raises(LoadFailed, match=r"tokenizer.model: piece 0 has no text"):
        read_folder(write_model(tmp_path, data), SIZE)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, bytes(range(256)), b"not at all", trained()[: len(trained()) // 2]])
def test_a_file_that_is_not_sentencepieces(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"tokenizer.model"):
        read_folder(write_model(tmp_path, data), SIZE)


def test_tiktokens_file_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"tokenizer.model is in the form of tiktoken, .*; get tokenizer.json too"):
        read_folder(write_model(tmp_path, TIKTOKEN), SIZE)


def test_tiktokens_file_is_passed_over(tmp_path: Path) -> None:
    """Llama 3 has both."""
    document = byte_pair_json(pre_tokenizer=GPT_2)
    (write_files(tmp_path, document) / "tokenizer.model").write_bytes(TIKTOKEN)
    assert read_folder(tmp_path, size_of(document)).model == "gpt2"


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"the checkpoint has neither tokenizer.json nor tokenizer.model; get one"):
        read_folder(tmp_path, SIZE)
    (tmp_path / "tekken.json").write_text("{}")
    with pytest.raises(LoadFailed, match=r"neither .* \(tekken.json is not read\)"):
        read_folder(tmp_path, SIZE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalizer and pre_tokenizer change spaces"),
        ({"normalizer": None}, "normalizer and pre_tokenizer change spaces"),
        (
            {
                "normalizer": None,
                "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            },
            "normalizer and pre_tokenizer change spaces",
        ),
    ],
)
def test_ranked_pieces_that_llama_cpp_would_cut_otherwise(fields: Json, message: str, tmp_path: Path) -> None:
    document = ranked_json(trained(), REPLACE, None, special=(BEGIN,)) | fields
    with pytest.raises(LoadFailed, match=f"tokenizer.json: {message}"):
        read_folder(write_files(tmp_path, document), SIZE)


def test_ranked_pieces_without_all_bytes(tmp_path: Path) -> None:
    document = ranked_json(trained(), REPLACE, None, special=(BEGIN,))
    vocab = model_of(document)["vocab"]
    assert isinstance(vocab, dict)
    del vocab["<0xC3>"]
    with pytest.raises(LoadFailed, match=r"tokenizer.json has no token <0xC3>; llama.cpp needs one for every byte"):
        read_folder(write_files(tmp_path, json.loads(json.dumps(document))), SIZE)
