"""What may be pulled of a repository, and what a shard index may name."""

import json

import pytest

from localllm.errors import IntegrityError
from localllm.models.hub.kinds import MOST_INDEX_BYTES, is_allowed, refusal_words, shards_of


@pytest.mark.parametrize(
    "path",
    [
        "model.gguf",
        "Q4_K_M/model-00001-of-00002.gguf",
        "model.safetensors",
        "model.safetensors.index.json",
        "tokenizer.model",
        "merges.txt",
        "chat_template.jinja",
        "README.md",
        "model.pte",
        "model.sig",
        "MODEL.GGUF",
        "LICENSE",
        "LICENSE.txt",
        "LICENSE-APACHE",
        "licence",
        "original/LICENSE",
    ],
)
def test_data_of_known_kinds_is_pulled(path: str) -> None:
    assert is_allowed(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("pytorch_model.bin", "can run code when they are read"),
        ("model.pt", "can run code when they are read"),
        ("consolidated.00.pth", "can run code when they are read"),
        ("last.ckpt", "can run code when they are read"),
        ("data.pkl", "can run code when they are read"),
        ("model.safetensors.bin", "can run code when they are read"),
        ("weights.zip", "archives are never unpacked"),
        ("weights.tar.gz", "archives are never unpacked"),
        ("modeling_tiny.py", "code from a repository is never run"),
        ("LICENSE.py", "code from a repository is never run"),
        ("run.sh", "code from a repository is never run"),
        ("LICENSE.bin", "can run code when they are read"),
        ("model.onnx", "models are .gguf,"),
        ("weights", "models are .gguf,"),
        ("gguf", "models are .gguf,"),
    ],
)
def test_the_rest_is_not_and_the_words_say_why(path: str, words: str) -> None:
    assert not is_allowed(path)
    assert words in refusal_words(path)
    assert "\n" not in refusal_words(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".gguf",
        ".cache/model.gguf",
        "../model.gguf",
        "a/../model.gguf",
        "/model.gguf",
        "a//model.gguf",
        "a\\model.gguf",
        "C:model.gguf",
        "CON.gguf",
        "nul/model.gguf",
        "model.gguf ",
        "model.gguf.",
        "a./model.gguf",
        "model\u202efugg.gguf",
        "model.gguf\n",
        "model.gguf\x00.txt",
        "-rf.gguf",
        "x" * 300 + ".gguf",
    ],
)
def test_no_kind_makes_a_dangerous_path_pullable(path: str) -> None:
    assert not is_allowed(path)
    assert "it is hidden, or its name is not safe to write" in refusal_words(path)
    assert refusal_words(path).isprintable()


def index(*files: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": {f"t{i}": f for i, f in enumerate(files)}}).encode()


def test_the_shards_of_a_checkpoint() -> None:
    second, first = "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"
    assert shards_of(index(second, first, second)) == [first, second]


@pytest.mark.parametrize(
    "file",
    [
        "pytorch_model.bin",
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "sub\\model.safetensors",
        "C:model.safetensors",
        ".safetensors",
        "model.safetensors\n",
        "model.SAFETENSORS.pkl",
        "con.safetensors",
        "",
    ],
)
def test_a_shard_index_that_names_anything_else_is_refused(file: str) -> None:
    with pytest.raises(IntegrityError, match=r"which is no \.safetensors file beside it"):
        shards_of(index("model-00001-of-00002.safetensors", file))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"weight_map": {}}',
        b'{"weight_map": []}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "\xff"}}',
        b'{"weight_map": {"a": ' + b"[" * 100_000,
    ],
)
def test_a_shard_index_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="the shard index cannot be read") as caught:
        shards_of(data)
    assert "\n" not in caught.value.message


def test_a_shard_index_without_end_is_not_read() -> None:
    with pytest.raises(IntegrityError, match="are read"):
        shards_of(b" " * (MOST_INDEX_BYTES + 1))
