"""Safetensors: what the reference implementation reads is read, what it refuses is refused by name."""

import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.convert.safetensors import read_weight_file
from localllm.convert.weight_reader import open_weights
from localllm.errors import LoadFailed
from tests.convert.checkpoints import Stored, safetensors_bytes, tiny_weights, with_header

NAME = "model.safetensors"


def two() -> dict[str, Stored]:
    return {"first": Stored("F32", (2, 3), bytes(24)), "second": Stored("BF16", (5,), bytes(10))}


def described(**entries: object) -> bytes:
    return with_header(json.dumps(entries).encode(), b"")


def entry(dtype: object = "U8", shape: object = (), offsets: object = (0, 1), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


def test_what_the_reference_writes_is_read(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is the reference")
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray[np.generic]] = {
        "weights": random.normal(size=(7, 5)).astype(np.float32),
        "halves": random.normal(size=(3,)).astype(np.float16),
        "ids": random.integers(0, 9, (2, 2, 2)),
        "none": np.zeros((0, 4), np.float32),
        "one": np.array(2.5, np.float32),
    }
    path = tmp_path / NAME
    numpy.save_file(arrays, path, metadata={"format": "np", "more": "text, with commas"})
    file = read_weight_file(path, NAME)
    assert file.tensors.keys() == arrays.keys()
    with file.opened() as reader:
        for name, array in arrays.items():
            tensor = file.tensors[name]
            data = bytearray(tensor.size_bytes)
            reader.fill(tensor.offset, memoryview(data))
            assert (tensor.shape, bytes(data)) == (array.shape, array.tobytes())


def test_what_these_tests_write_the_reference_reads(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is the reference")
    weights = tiny_weights("F16")
    found = numpy.load(safetensors_bytes(weights))
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: tensor.data for name, tensor in weights.items()
    }


BROKEN = {
    "empty": (b"", "has 0 bytes, which is no safetensors file"),
    "seven bytes": (bytes(7), "has 7 bytes"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer"),
    "a pickle": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "claims a header of"),
    "a zip": (b"PK\x03\x04" + bytes(50), "claims a header of"),
    "a header longer than the file": (struct.pack("<Q", 9) + b"{}", "header of 9 bytes, the file ends before"),
    "a header longer than any": (struct.pack("<Q", 10**8 + 1) + b"{}", "100000000 bytes are the most"),
    "a length of all ones": (b"\xff" * 8 + b"{}", "100000000 bytes are the most"),
    "no header": (struct.pack("<Q", 0), "no JSON object"),
    "a list": (with_header(b"[1]", b""), "no JSON object"),
    "a space first": (with_header(b" {}", b""), "no JSON object"),
    "half of a header": (with_header(b'{"a":', b""), "cannot be read as JSON"),
    "two headers": (with_header(b"{}{}", b""), "cannot be read as JSON"),
    "no UTF-8": (with_header(b'{"\xff": 1}', b""), "cannot be read as JSON"),
    "UTF-16": (with_header("{}".encode("utf-16-le"), b""), "cannot be read as JSON"),
    "a deep one": (with_header(b'{"a":' + b"[" * 10**6, b""), "cannot be read as JSON"),
    "a huge number": (with_header(b'{"a":' + b"9" * 10**5 + b"}", b""), "cannot be read as JSON"),
    "millions of items": (with_header(b'{"a":[' + b"{}," * 2_000_000 + b"{}]}", b""), "more than 1048576 things"),
    "a name twice": (
        with_header(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), b"\0"),
        "'a' stands twice",
    ),
    "a field twice": (with_header(b'{"a":{"dtype":"U8","dtype":"I8"}}', b""), "'dtype' stands twice"),
    "metadata that is a list": (described(__metadata__=[]), "__metadata__ that is no object of texts"),
    "metadata of numbers": (described(__metadata__={"format": 1}), "__metadata__ that is no object of texts"),
    "an entry that is a list": (described(a=[]), "'a' is not described by"),
    "an entry without a shape": (described(a={"dtype": "U8", "data_offsets": [0, 1]}), "'a' is not described by"),
    "an entry with more": (described(a=entry(codec="zip")), "'a' is not described by"),
    "an unknown type": (described(a=entry("F12")), "'a' is of the unknown type 'F12'"),
    "a type that is a number": (described(a=entry(7)), "'a' is of the unknown type '7'"),
    "a type in lower case": (described(a=entry("f32")), "'a' is of the unknown type 'f32'"),
    "a shape below zero": (described(a=entry(shape=[-1])), r"'a' has the shape \[-1\]"),
    "two below zero": (described(a=entry(shape=[-1, -1])), r"'a' has the shape \[-1, -1\]"),
    "a shape of fractions": (described(a=entry(shape=[1.0])), r"'a' has the shape \[1.0\]"),
    "a shape of truth": (described(a=entry(shape=[True])), r"'a' has the shape \[True\]"),
    "a shape that is a number": (described(a=entry(shape=1)), "'a' has the shape 1"),
    "a shape of far too many": (described(a=entry(shape=[1] * 33)), "'a' has the shape"),
    "a shape beyond 64 bits": (described(a=entry(shape=[2**64])), "'a' has the shape"),
    "a shape whose product wraps": (described(a=entry(shape=[2**62, 4], offsets=[0, 0])), "'a' takes 0 bytes"),
    "one offset": (described(a=entry(offsets=[0])), "'a' has the data offsets"),
    "offsets backwards": (described(a=entry(offsets=[1, 0])), "'a' has the data offsets"),
    "offsets below zero": (described(a=entry(offsets=[-1, 0])), "'a' has the data offsets"),
    "offsets of text": (described(a=entry(offsets=["0", "1"])), "'a' has the data offsets"),
    "offsets that are an object": (described(a=entry(offsets={"0": 1})), "'a' has the data offsets"),
    "too few bytes for its shape": (described(a=entry("F32", [2], [0, 4])), r"'a' takes 4 bytes, which F32 .* \[2\]"),
    "half a byte": (described(a=entry("F4", [3], [0, 2])), "'a' takes 2 bytes"),
    "no data": (described(a=entry()), "ends before its tensor 'a' does"),
    "no data by far": (described(a=entry("F32", [2**60], [0, 2**62])), "ends before its tensor 'a' does"),
    "a hole at the beginning": (
        with_header(json.dumps({"a": entry(offsets=(1, 2))}).encode(), bytes(2)),
        "'a' begins behind a hole",
    ),
    "a hole": (
        with_header(json.dumps({"a": entry(), "b": entry(offsets=(2, 3))}).encode(), bytes(3)),
        "'b' begins behind a hole",
    ),
    "an overlap": (
        with_header(json.dumps({"a": entry("I16", (), (0, 2)), "b": entry(offsets=(1, 2))}).encode(), bytes(2)),
        "'b' overlaps the one before it",
    ),
    "the same place twice": (
        with_header(json.dumps({"a": entry(), "b": entry()}).encode(), bytes(1)),
        "'b' overlaps the one before it",
    ),
    "more data than tensors": (safetensors_bytes(two()) + b"\0", "goes on for 1 bytes behind its last tensor"),
    "data without tensors": (with_header(b"{}", b"\0"), "goes on for 1 bytes"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(data)
    with pytest.raises(LoadFailed, match=words) as caught:
        read_weight_file(path, NAME)
    assert NAME in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = safetensors_bytes(two())
    path = tmp_path / "blob"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(LoadFailed, match=NAME):
            read_weight_file(path, NAME)
    path.write_bytes(whole)
    assert len(read_weight_file(path, NAME).tensors) == 2


def test_a_byte_changed_in_the_header_never_does_worse_than_refuse(tmp_path: Path) -> None:
    whole = safetensors_bytes(two())
    header_bytes = len(whole) - 34
    random = np.random.default_rng(0)
    path = tmp_path / "blob"
    for place in range(header_bytes):
        spoilt = bytearray(whole)
        spoilt[place] ^= int(random.integers(1, 256))
        path.write_bytes(spoilt)
        with suppress(LoadFailed):
            file = read_weight_file(path, NAME)
            assert sum(tensor.size_bytes for tensor in file.tensors.values()) == 34


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "nul\0"):
        with pytest.raises(LoadFailed, match=NAME):
            read_weight_file(path, NAME)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadFailed, match="no regular file"):
        read_weight_file(tmp_path / "pipe", NAME)


def test_a_file_that_changes_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(safetensors_bytes(two()))
    file = read_weight_file(path, NAME)
    path.write_bytes(safetensors_bytes(two()) + b"\0")
    with pytest.raises(LoadFailed, match="changed while it was read"), file.opened():
        pass


def test_a_file_that_shrinks_under_the_reader_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(safetensors_bytes(two()))
    with open_weights(path, NAME) as reader:
        path.write_bytes(b"short")
        with pytest.raises(LoadFailed, match="became shorter"):
            reader.fill(0, memoryview(bytearray(10)))
