"""What llama.cpp takes where a GGUF file says nothing, and files whose vocabulary cannot be written."""

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import msgspec
import numpy as np
import pytest

from localllm.convert.hub_files.cuts import cutting
from localllm.convert.hub_files.write import tokenizer_files
from localllm.convert.vocabulary.vocabulary import Vocabulary
from localllm.errors import LoadFailed
from tests.convert.vocabulary.sentencepiece_files import trained
from tests.convert.vocabulary.sentencepiece_files import write_model as write_sentencepieces
from tests.convert.vocabulary.tokenizers_at_work import read_folder, write_model
from tests.tiny import byte_names, write_tiny_embedder, write_tiny_model

pytest.importorskip("tokenizers", reason="the library tokenizers, of the extra executorch, is missing")

from tests.convert.hub_files.at_work import check_ids, check_tokens, llama_tokenizer, rebuilt

NORMAL, CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
ADDED = ("<begin>", "<stop>", "<turn>", "<pad>")
BEGIN, STOP, TURN, PAD = range(256, 260)
TEXTS = ["", "a b", "<begin>x<stop>", "<turn>", "  two"]
BYTES = Vocabulary(
    model="gpt2",
    pre="gpt-2",
    tokens=tuple(text.encode() for text in (*byte_names(), *ADDED)),
    types=(NORMAL,) * 256 + (CONTROL,) * len(ADDED),
    merges=("Ġ a",),
)


def changed(**fields: object) -> Vocabulary:
    return msgspec.structs.replace(BYTES, **fields)


def check(vocabulary: Vocabulary, folder: Path) -> None:
    """Against llama.cpp's own."""
    model = write_model(vocabulary, folder / "model.gguf")
    ours = rebuilt(model, folder / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, TEXTS)


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "lfm2", "tekken", "glm4", "chatglm-bpe", "qwen2"])
def test_byte_pairs_that_say_nothing(pre: str, tmp_path: Path) -> None:
    check(changed(pre=pre), tmp_path)


def test_sentencepieces_that_say_nothing(tmp_path: Path) -> None:
    vocabulary = read_folder(write_sentencepieces(tmp_path / "files", trained()), 700)
    check(msgspec.structs.replace(vocabulary, special={}, flags={}), tmp_path)


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("add_eos", [False, True])
def test_what_is_put_around_a_text(add_bos: bool, add_eos: bool, tmp_path: Path) -> None:
    flags = {"add_bos_token": add_bos, "add_eos_token": add_eos}
    check(changed(special={"bos": BEGIN, "eos": STOP}, flags=flags), tmp_path)
    ours = rebuilt(tmp_path / "model.gguf", tmp_path / "again")
    assert ours.encode("", add_special=True, parse_special=False) == [BEGIN] * add_bos + [STOP] * add_eos


def test_everything_that_ends_answers(tmp_path: Path) -> None:
    special = {"bos": BEGIN, "eos": STOP, "eot": TURN, "eom": PAD, "fim_rep": 7, "padding": 10**6}
    check(changed(special=special), tmp_path)
    said = json.loads((tmp_path / "rebuilt" / "generation_config.json").read_bytes())
    assert said == {"bos_token_id": BEGIN, "eos_token_id": [STOP, TURN, PAD, 7]}


def test_names_of_the_parts_that_tokens_play(tmp_path: Path) -> None:
    special = {"bos": BEGIN, "eos": STOP, "unknown": TURN, "padding": PAD, "seperator": 65, "mask": 66}
    model = write_model(changed(special=special), tmp_path / "model.gguf")
    settings = json.loads(tokenizer_files(model)["tokenizer_config.json"])
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "mask_token")
    assert [settings[name] for name in names] == [*ADDED, BYTES.tokens[65].decode(), BYTES.tokens[66].decode()]


@pytest.mark.parametrize(
    ("main", "others", "expected"),
    [
        (None, {}, None),
        ("main é", {}, "main é"),
        ("main", {"tool_use": "tools"}, [("default", "main"), ("tool_use", "tools")]),
        (None, {"tool_use": "tools"}, [("tool_use", "tools")]),
    ],
)
def test_templates(main: str | None, others: dict[str, str], expected: object, tmp_path: Path) -> None:
    check(changed(chat_template=main, chat_templates=others), tmp_path)
    written = json.loads((tmp_path / "rebuilt" / "tokenizer_config.json").read_bytes()).get("chat_template")
    named = [(one["name"], one["template"]) for one in written] if isinstance(written, list) else written
    assert named == expected


def test_texts_end_at_a_nul_and_the_empty_one_has_a_name(tmp_path: Path) -> None:
    tokens = (*BYTES.tokens, b"", b"zz\0beyond")
    check(changed(tokens=tokens, types=(*BYTES.types, NORMAL, NORMAL)), tmp_path)


def test_without_types_all_tokens_are_plain(tmp_path: Path) -> None:
    """As old files are."""
    model = without_key("tokenizer.ggml.token_type", tmp_path)
    ours = rebuilt(model, tmp_path / "rebuilt")
    with llama_tokenizer(model) as theirs:
        check_tokens(ours, theirs)
        check_ids(ours, theirs, TEXTS)


def without_key(key: str, folder: Path) -> Path:
    """It is there under a name that nobody reads."""
    path = write_model(BYTES, folder / "model.gguf")
    path.write_bytes(path.read_bytes().replace(key.encode(), key[:-1].encode() + b"_"))
    return path


def without_tokens(folder: Path) -> Path:
    return without_key("tokenizer.ggml.tokens", folder)


def bert(folder: Path) -> Path:
    return write_tiny_embedder(folder / "model.gguf", pooling="cls")


def later_part(folder: Path) -> Path:
    write_tiny_model(folder / "model.gguf", tensors_each=8)
    return next(iter(sorted(folder.glob("*-00002-of-*.gguf"))))


def shortened(folder: Path) -> Path:
    path = write_model(BYTES, folder / "model.gguf")
    path.write_bytes(path.read_bytes()[:2000])
    return path


def with_number_for_flag(folder: Path) -> Path:
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(BYTES.tokens))
    writer.add_token_merges(["a b"])
    writer.add_uint32("tokenizer.ggml.add_bos_token", 1)
    writer.add_tensor("token_embd.weight", np.zeros((260, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def held(**fields: object) -> Callable[[Path], Path]:
    return lambda folder: write_model(changed(**fields), folder / "model.gguf")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        pytest.param(bert, r"tokenizer.ggml.model is 'bert' \(WordPiece\); only gpt2 and llama", id="WordPiece"),
        pytest.param(held(model="t5"), r"tokenizer.ggml.model is 't5' \(Unigram\)", id="Unigram"),
        pytest.param(held(model="rwkv"), r"tokenizer.ggml.model is 'rwkv' \(the tokenizer of RWKV\)", id="RWKV"),
        pytest.param(held(model="other"), r"tokenizer.ggml.model is 'other'; only", id="unknown"),
        pytest.param(later_part, "the file has no tokenizer.ggml.model; name a model's only or first", id="later part"),
        pytest.param(held(pre="default"), "tokenizer.ggml.pre is 'default', of which it is not known", id="default"),
        pytest.param(held(pre=""), "tokenizer.ggml.pre is missing, of which", id="no pre-tokenizer"),
        pytest.param(held(pre="kimi-k2"), "tokenizer.ggml.pre is 'kimi-k2', of which", id="another pre-tokenizer"),
        pytest.param(held(tokens=(*BYTES.tokens[:-1], b"a")), "tokenizer.ggml.tokens has 'a' twice", id="twice"),
        pytest.param(held(tokens=(*BYTES.tokens[:-1], b"\xff")), r"tokens\[259\] is not UTF-8", id="not UTF-8"),
        pytest.param(without_tokens, "damaged or made wrongly: it has no tokenizer.ggml.tokens", id="none"),
        pytest.param(with_number_for_flag, "the value of tokenizer.ggml.add_bos_token is not a bool", id="flag"),
        pytest.param(shortened, "it ends inside its header", id="shortened"),
        pytest.param(lambda folder: folder / "none.gguf", "cannot read .*none.gguf", id="missing"),
    ],
)
def test_what_cannot_be_written_is_refused(made: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    path = made(tmp_path)
    with pytest.raises(LoadFailed, match=message) as caught:
        tokenizer_files(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_name_is_not_guessed() -> None:
    with pytest.raises(LoadFailed, match=r"tokenizer.ggml.pre is 'gpt'"):
        cutting("gpt")
