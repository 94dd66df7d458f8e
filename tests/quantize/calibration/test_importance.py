"""Importance matrices: written, read again by us and by the tools of others, and refused where they are wrong."""

import os
import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest

from localllm.engines.llama_cpp.square_sums import SquareSums
from localllm.errors import EngineError, LoadFailed, ModelError
from localllm.models.gguf.header import read_header
from localllm.quantize.calibration import importance
from localllm.quantize.calibration.importance import is_importance, read_importance
from localllm.quantize.calibration.importance_writer import write_importance
from tests.models.gguf.headers import (
    U32,
    U64,
    array,
    count,
    number,
    numbers,
    strings,
    tensor,
    text,
    words,
)
from tests.models.gguf.headers import (
    gguf as file_of,
)
from tests.tiny import write_tiny_model

NAME = "blk.0.attn_q.weight"
PAIRS = [
    words("general.type", "imatrix"),
    strings("imatrix.datasets", ["notes.txt", "Grüße"]),
    count("imatrix.chunk_count", 3),
    count("imatrix.chunk_size", 512),
]


def table(*entries: tuple[str, Sequence[int]]) -> list[bytes]:
    """Tensor infos one behind the other, of F32."""
    infos, offset = [], 0
    for name, shape in entries:
        infos.append(tensor(name, shape, 0, offset))
        offset += -(-4 * int(np.prod(shape)) // 32) * 32
    return infos


def foreign(sums: Sequence[float], counts: Sequence[float], pairs: Sequence[bytes] = PAIRS) -> bytes:
    """A file as upstream writes it, with no general.architecture, for one tensor."""
    entries = table((f"{NAME}.in_sum2", (len(sums) // len(counts), len(counts))), (f"{NAME}.counts", (1, len(counts))))
    data = b"".join(
        raw + bytes(-len(raw) % 32) for raw in (struct.pack(f"<{len(part)}f", *part) for part in (sums, counts))
    )
    return file_of(pairs, entries, data_bytes=0) + data


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sums_of(squares: Sequence[Sequence[float]], counts: Sequence[int]) -> SquareSums:
    return SquareSums(squares=np.array(squares, np.float64), counts=np.array(counts, np.int64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "importance.gguf"


def test_what_is_written_is_read_again(path: Path) -> None:
    sums = {
        "blk.1.ffn_down.weight": sums_of([[1, 2, 3, 4.5]], [2]),
        "blk.0.ffn_up_exps.weight": sums_of([[2, 4], [0, 0], [9, 3]], [2, 0, 3]),
    }
    size_bytes = write_importance(path, sums, datasets=("default",), chunks=7, chunk_tokens=512)
    assert size_bytes == path.stat().st_size
    read = read_importance(path)
    assert (read.datasets, read.chunks, read.chunk_tokens) == (("default",), 7, 512)
    assert read.values["blk.1.ffn_down.weight"].tolist() == [0.5, 1, 1.5, 2.25]
    assert read.values["blk.0.ffn_up_exps.weight"].tolist() == [1, 2, 1, 1, 3, 1]
    assert read.unused == {"blk.0.ffn_up_exps.weight": 1}
    assert all(values.dtype == np.float32 for values in read.values.values())
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_the_one_that_upstream_writes(path: Path) -> None:
    """By the reader of the gguf package, which is not the one that is tested here."""
    sums = {NAME: sums_of([[1, 2], [3, 4], [5, 6]], [1, 2, 3]), "blk.0.attn_k.weight": sums_of([[7, 8]], [4])}
    write_importance(path, sums, datasets=("one", "two"), chunks=7, chunk_tokens=256)
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "imatrix",
        "general.type": "imatrix",
        "imatrix.datasets": ["one", "two"],
        "imatrix.chunk_count": 7,
        "imatrix.chunk_size": 256,
    }
    assert reader.fields["imatrix.chunk_count"].types == [gguf.GGUFValueType.UINT32]
    assert [(entry.name, entry.tensor_type.name, entry.shape.tolist()) for entry in reader.tensors] == [
        ("blk.0.attn_k.weight.in_sum2", "F32", [2]),
        ("blk.0.attn_k.weight.counts", "F32", [1]),
        (f"{NAME}.in_sum2", "F32", [2, 3]),
        (f"{NAME}.counts", "F32", [1, 3]),
    ]
    assert reader.tensors[2].data.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert read_header(path).metadata["general.type"] == "imatrix"


def test_a_file_of_upstream_is_read(path: Path) -> None:
    read = read_importance(written(path, foreign([2, 4, 6, 8], [2])))
    assert read.values[NAME].tolist() == [1, 2, 3, 4]
    assert read.datasets == ("notes.txt", "Grüße")
    assert (read.chunks, read.chunk_tokens, read.unused) == (3, 512, {})


def test_sums_of_another_kind_beside_them_are_left_alone(path: Path) -> None:
    entries = table((f"{NAME}.in_sum2", (8, 1)), (f"{NAME}.counts", (1, 1)), (f"{NAME}.in_sum", (8, 1)))
    data = struct.pack("<8f", *[3] * 8) + struct.pack("<f", 3) + bytes(28) + bytes(32)
    read = read_importance(written(path, file_of(PAIRS, entries, data_bytes=0) + data))
    assert read.values == {NAME: pytest.approx(np.ones(8))}


@pytest.mark.parametrize("datasets", [[], ["x" * 3 * 2**20], ["é" * 100] * 500])
def test_datasets_may_be_many_and_long(datasets: list[str], path: Path) -> None:
    """Longer than what is read at first, too."""
    pairs = [PAIRS[0], strings("imatrix.datasets", datasets), *PAIRS[2:]]
    read = read_importance(written(path, foreign([2, 4], [2], pairs)))
    assert read.datasets == tuple(datasets)
    assert read.values[NAME].tolist() == [1, 2]


HOSTILE = {
    "empty": (b"", "no importance matrix"),
    "three bytes": (b"GGU", "no importance matrix"),
    "text": (b"hello world, this is text", "no importance matrix"),
    "magic alone": (b"GGUF", "ends inside"),
    "version": (file_of(PAIRS, version=9), "version 9"),
    "old format": (struct.pack("<ii", 210, len(NAME)) + NAME.encode() + bytes(100), r"older format \(\.dat\)"),
    "no type": (foreign([1], [1], PAIRS[1:]), "no importance matrix; for a model"),
    "no datasets": (foreign([1], [1], [PAIRS[0], *PAIRS[2:]]), "no imatrix.datasets"),
    "datasets of numbers": (
        foreign([1], [1], [PAIRS[0], numbers("imatrix.datasets", U32, [1, 2])]),
        "not a few strings",
    ),
    "a dataset": (foreign([1], [1], [PAIRS[0], words("imatrix.datasets", "x")]), "not a few strings"),
    "too many datasets": (foreign([1], [1], [PAIRS[0], strings("imatrix.datasets", ["x"] * 1001)]), "not a few"),
    "huge dataset": (
        foreign([1], [1], [PAIRS[0], array("imatrix.datasets", 8, struct.pack("<Q", 2**63), 1)]),
        "ends inside",
    ),
    "dataset beyond the end": (
        foreign([1], [1], [PAIRS[0], array("imatrix.datasets", 8, struct.pack("<Q", 200) + b"x", 1)]),
        "damaged",
    ),
    "no chunk count": (foreign([1], [1], [*PAIRS[:2], PAIRS[3]]), "no imatrix.chunk_count"),
    "no chunk size": (foreign([1], [1], PAIRS[:3]), "no imatrix.chunk_size"),
    "chunk count of text": (foreign([1], [1], [*PAIRS[:2], words("imatrix.chunk_count", "3")]), "chunk_count"),
    "twice": (foreign([1], [1], [*PAIRS, PAIRS[0]]), "twice"),
    "alignment": (foreign([1], [1], [*PAIRS, count("general.alignment", 64)]), "alignment"),
    "negative": (foreign([1, -1], [1]), "no sums of squares"),
    "nan": (foreign([1, float("nan")], [1]), "no sums of squares"),
    "infinite": (foreign([1, float("inf")], [1]), "no sums of squares"),
    "negative count": (foreign([1, 1], [-1]), "no counts"),
    "nan count": (foreign([1, 1], [float("nan")]), "no counts"),
    "infinite count": (foreign([1, 1], [float("inf")]), "no counts"),
    "no tensors": (file_of(PAIRS, [], data_bytes=0), "no sums"),
    "no counts": (file_of(PAIRS, [tensor(f"{NAME}.in_sum2")]), r"has no '\S+counts'"),
    "no sums": (file_of(PAIRS, [tensor(f"{NAME}.counts")]), "without sums"),
    "other tensors": (file_of(PAIRS, [tensor("a.weight")]), "no sums"),
    "other type": (
        file_of(PAIRS, [tensor(f"{NAME}.in_sum2", (32,), 1), tensor(f"{NAME}.counts", (1,), 0, 64)], data_bytes=96),
        "of the type F16",
    ),
    "three for two": (
        file_of(PAIRS, table((f"{NAME}.in_sum2", (3,)), (f"{NAME}.counts", (2,))), data_bytes=64),
        "3 sums .* 2 counts",
    ),
    "cut": (foreign([1] * 100, [1])[:-100], "larger than the file|ends before"),
    "claims tensors": (file_of(PAIRS, claims=(2**40, None)), "claims"),
    "claims keys": (file_of(PAIRS, claims=(None, 2**40)), "claims"),
    "huge tensor": (file_of(PAIRS, [tensor(f"{NAME}.in_sum2", (2**40,))]), "larger than the file"),
    "number where a key is": (file_of([number(U64, 2**60)], []), "damaged"),
    "key without value": (file_of([text("general.type")], [], data_bytes=0)[:44], "ends inside"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_is_refused(name: str, path: Path) -> None:
    content, complaint = HOSTILE[name]
    with pytest.raises(LoadFailed, match=complaint) as caught:
        read_importance(written(path, content))
    assert str(path) in caught.value.message


def test_any_flipped_or_missing_byte_is_refused_or_read(path: Path) -> None:
    """Never another error."""
    whole, dice = foreign([1, 2, 3, 4], [2, 2]), random.Random(0)
    for _ in range(300):
        content = bytearray(whole[: dice.choice([len(whole), dice.randrange(len(whole))])])
        for _ in range(dice.randrange(3)):
            if content:
                content[dice.randrange(len(content))] = dice.randrange(256)
        with suppress(LoadFailed):
            read_importance(written(path, bytes(content)))


def test_a_huge_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "_MOST_FILE_BYTES", 100)
    with pytest.raises(LoadFailed, match="no importance matrix has"):
        read_importance(written(path, foreign([1], [1])))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing.gguf", Path("a\0b")):
        with pytest.raises(LoadFailed):
            read_importance(place)
        assert not is_importance(str(place))


def test_a_model_is_no_importance_matrix(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="for a model, name it as the source"):
        read_importance(write_tiny_model(tmp_path / "tiny.gguf"))


def test_a_choice_is_told_from_a_text(path: Path, tmp_path: Path) -> None:
    assert is_importance(str(written(path, foreign([1], [1]))))
    assert is_importance(str(written(tmp_path / "old.dat", HOSTILE["old format"][0])))
    assert not is_importance(str(written(tmp_path / "notes.txt", b"Once upon a time\n" * 10)))
    assert not is_importance(str(written(tmp_path / "empty.txt", b"")))
    assert not is_importance("default")
    assert not is_importance("~no-such-user/x")


def test_sums_beyond_float32_are_refused(path: Path) -> None:
    for value in (1e39, np.nan):
        with pytest.raises(EngineError, match="too large"):
            write_importance(path, {NAME: sums_of([[value]], [1])}, datasets=("x",), chunks=1, chunk_tokens=512)
    assert not path.exists()


def test_a_file_that_cannot_be_written_leaves_nothing(path: Path, tmp_path: Path) -> None:
    sums = {NAME: sums_of([[1]], [1])}
    with pytest.raises(ModelError, match="cannot write"):
        write_importance(tmp_path / "missing" / "x.gguf", sums, datasets=("x",), chunks=1, chunk_tokens=512)
    path.mkdir()
    with pytest.raises(ModelError, match="cannot write"):
        write_importance(path, sums, datasets=("x",), chunks=1, chunk_tokens=512)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits on the size of files")
def test_a_full_disk_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    sums = {NAME: sums_of([[1.0] * 10_000], [1])}
    try:
        with pytest.raises(ModelError, match="cannot write"):
            write_importance(path, sums, datasets=("x",), chunks=1, chunk_tokens=512)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(path.parent.iterdir()) == []
