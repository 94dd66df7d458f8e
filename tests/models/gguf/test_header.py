"""Headers that are right: what is read from them, from a part of the file as well, and how a file is opened."""

import os
from pathlib import Path

import gguf
import pytest

from localllm.errors import LoadFailed
from localllm.models.gguf import header as header_module
from localllm.models.gguf.cursor import Truncated
from localllm.models.gguf.header import GgufHeader, parse_header, read_header
from localllm.models.gguf.metadata import ArrayInfo
from tests.models.gguf.headers import (
    ARCHITECTURE,
    BOOL,
    F32,
    F64,
    I8,
    I64,
    U8,
    U16,
    U64,
    WEIGHT,
    array,
    count,
    model,
    numbers,
    pair,
    strings,
    tensor,
    words,
)
from tests.models.gguf.headers import gguf as made


def parsed(data: bytes) -> GgufHeader:
    return parse_header(data, len(data))


def test_a_real_file_reads_as_with_the_reference_reader(tiny_model: Path) -> None:
    ours, theirs = read_header(tiny_model), gguf.GGUFReader(tiny_model)
    assert ours.data_offset == theirs.data_offset
    assert ours.alignment == theirs.alignment
    expected = [
        (tensor.name, tuple(map(int, tensor.shape)), tensor.tensor_type.name, tensor.n_bytes, tensor.n_elements)
        for tensor in theirs.tensors
    ]
    assert [
        (info.name, info.shape, info.type_name, info.size_bytes, info.elements) for info in ours.tensors
    ] == expected
    assert [ours.data_offset + info.offset for info in ours.tensors] == [item.data_offset for item in theirs.tensors]
    fields = {key: field for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert list(ours.metadata) == list(fields)
    for key, value in ours.metadata.items():
        contents = fields[key].contents()
        assert (value.count if isinstance(value, ArrayInfo) else value) == (
            len(contents) if isinstance(value, ArrayInfo) else contents
        )


@pytest.mark.real_model
def test_the_starter_model_reads_to_its_last_byte(starter_home: Path) -> None:
    (blob,) = (starter_home / "models" / "blobs").glob("sha256-b179c952*")
    found = read_header(blob)
    last = found.tensors[-1]
    assert len(found.tensors) == 272
    assert found.data_offset + last.offset + last.size_bytes == blob.stat().st_size
    assert found.metadata["tokenizer.ggml.tokens"] == ArrayInfo(element_type="string", count=49_152)
    assert found.metadata["general.name"] == "Smollm2 135M 8k Lc100K Mix1 Ep2"


def test_values_of_every_type_are_read() -> None:
    found = parsed(
        made(
            [
                ARCHITECTURE,
                pair("u8", U8, 200),
                pair("i8", I8, -3),
                pair("u64", U64, 2**64 - 1),
                pair("i64", I64, -(2**63)),
                pair("f32", F32, 0.5),
                pair("f64", F64, 1e300),
                pair("bool", BOOL, 1),
                words("words", "größer"),
                pair("not UTF-8", 8, b"a\xff"),
                numbers("bools", BOOL, [1, 0]),
                numbers("floats", F32, [0.5, 2]),
                numbers("none", F32, []),
                strings("strings", ["a", "bc"]),
            ]
        )
    ).metadata
    assert (found["u8"], found["i8"], found["u64"], found["i64"]) == (200, -3, 2**64 - 1, -(2**63))
    assert (found["f32"], found["f64"], found["bool"]) == (0.5, 1e300, True)
    assert isinstance(found["bool"], bool)
    assert (found["words"], found["not UTF-8"]) == ("größer", "a\ufffd")
    assert found["bools"] == ArrayInfo(element_type="bool", count=2, items=(True, False))
    assert found["floats"] == ArrayInfo(element_type="float32", count=2, items=(0.5, 2.0))
    assert found["none"] == ArrayInfo(element_type="float32", count=0, items=())
    assert found["strings"] == ArrayInfo(element_type="string", count=2)


def test_few_numbers_are_kept_and_many_only_counted() -> None:
    found = parsed(made([ARCHITECTURE, numbers("few", U16, [7] * 4096), numbers("many", U16, [7] * 4097)])).metadata
    assert found["few"] == ArrayInfo(element_type="uint16", count=4096, items=(7,) * 4096)
    assert found["many"] == ArrayInfo(element_type="uint16", count=4097)


@pytest.mark.parametrize(
    ("data", "alignment"),
    [
        pytest.param(made(version=2), 32, id="version 2"),
        pytest.param(made([ARCHITECTURE, count("general.alignment", 64)], alignment=64), 64, id="alignment 64"),
        pytest.param(made([ARCHITECTURE, count("general.alignment", 1)], alignment=1), 1, id="alignment 1"),
        pytest.param(made() + bytes(1000), 32, id="bytes behind the weights"),
        pytest.param(made(tensors=[tensor("n" * 63)]), 32, id="longest name"),
        pytest.param(made(tensors=[tensor("größe")]), 32, id="name beyond ASCII"),
        pytest.param(made([ARCHITECTURE, count("k" * 65_535, 1)]), 32, id="longest key"),
        pytest.param(made(tensors=[tensor("t", (), 0)], data_bytes=4), 32, id="a single number"),
        pytest.param(made(tensors=[tensor("t", (2, 2, 2, 4))]), 32, id="four dimensions"),
        pytest.param(made(tensors=[WEIGHT, tensor("b", (1,), offset=128)], data_bytes=132), 32, id="last not padded"),
        pytest.param(made([pair("split.no", U16, 1), pair("split.count", U16, 2)]), 32, id="second part"),
        pytest.param(made([ARCHITECTURE, pair("split.count", U16, 2)], []), 32, id="first part without tensors"),
    ],
)
def test_what_is_right_at_the_limits_is_read(data: bytes, alignment: int) -> None:
    found = parsed(data)
    assert found.alignment == alignment
    assert found.data_offset % alignment == 0


def test_tensors_are_padded_to_the_alignment() -> None:
    found = parsed(made(tensors=[tensor("a", (3,)), tensor("b", (256, 2), 12, offset=32)], data_bytes=32 + 288))
    assert [(info.type_name, info.offset, info.size_bytes) for info in found.tensors] == [
        ("F32", 0, 12),
        ("Q4_K", 32, 288),
    ]
    assert found.tensors[1].elements == 512


def test_every_beginning_of_a_file_asks_for_more_until_the_header_is_whole(tiny_model: Path) -> None:
    whole = tiny_model.read_bytes()
    full = parse_header(whole, len(whole))
    wanted = {length: _wanted(whole[:length], len(whole)) for length in range(0, full.data_offset + 1, 7)}
    assert all(more is None or length < more <= full.data_offset for length, more in wanted.items())
    ends = [length for length, more in wanted.items() if more is None]
    assert ends
    assert ends[0] > full.data_offset - 40  # the padding before the weights is not needed
    assert ends == list(range(ends[0], full.data_offset + 1, 7))


def _wanted(data: bytes, file_bytes: int) -> int | None:
    try:
        parse_header(data, file_bytes)
    except Truncated as truncated:
        return truncated.wanted_bytes
    return None


def test_asking_for_what_is_wanted_comes_to_an_end(tiny_model: Path) -> None:
    whole = tiny_model.read_bytes()
    length, asked = 0, 0
    while (wanted := _wanted(whole[:length], len(whole))) is not None:
        assert length < wanted
        length, asked = wanted, asked + 1
    assert parse_header(whole[:length], len(whole)) == parse_header(whole, len(whole))
    assert asked < 1000


def test_a_long_array_of_numbers_says_at_once_how_far_it_goes() -> None:
    data = made([ARCHITECTURE, array("k", U64, bytes(8 * 10_000), 10_000)])
    with pytest.raises(Truncated) as truncated:
        parse_header(data[:100], len(data))
    assert truncated.value.wanted_bytes > 80_000


def test_other_buffers_are_read_alike() -> None:
    data = made()
    assert parse_header(bytearray(data), len(data)) == parse_header(memoryview(data), len(data)) == parsed(data)


def test_what_lies_behind_the_stated_end_is_not_looked_at() -> None:
    data = made()
    with pytest.raises(LoadFailed, match="ends before"):
        parse_header(data, len(data) - 1)


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [f"token{index}" for index in range(150_000)]
    path = tmp_path / "large.gguf"
    path.write_bytes(model(strings("tokenizer.ggml.tokens", tokens)))
    found = read_header(path).metadata["tokenizer.ggml.tokens"]
    assert found == ArrayInfo(element_type="string", count=150_000)
    monkeypatch.setattr(header_module, "FIRST_READ_BYTES", 1)
    assert read_header(path).metadata["tokenizer.ggml.tokens"] == found


@pytest.mark.parametrize("made_by", ["nothing", "folder", "pipe", "NUL", "empty"])
def test_what_is_no_regular_file_is_refused_by_name(tmp_path: Path, made_by: str) -> None:
    path = tmp_path / ("a\0b" if made_by == "NUL" else "model.gguf")
    if made_by == "folder":
        path.mkdir()
    elif made_by == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    elif made_by == "empty":
        path.touch()
    with pytest.raises(LoadFailed, match=r"model\.gguf|a\\?") as refused:
        read_header(path)
    assert ("this is no regular file" in str(refused.value)) == (made_by in {"folder", "pipe"})


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(made()[:70])
    with pytest.raises(LoadFailed, match=r"cut\.gguf: this GGUF file is damaged.*ends inside its header"):
        read_header(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path, tiny_model: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny_model)
    assert read_header(link) == read_header(tiny_model)
