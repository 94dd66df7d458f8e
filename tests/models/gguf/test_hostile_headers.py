"""Headers that are wrong in one way each: all are refused with a typed error that says what is wrong."""

import random
import struct
from pathlib import Path

import pytest

from localllm.errors import LoadFailed
from localllm.models.gguf import cursor, metadata
from localllm.models.gguf.cursor import Truncated
from localllm.models.gguf.facts import facts_of
from localllm.models.gguf.header import parse_header
from tests.models.gguf.headers import (
    ARCHITECTURE,
    ARRAY,
    BOOL,
    F32,
    I8,
    I32,
    STRING,
    U8,
    U16,
    U32,
    U64,
    WEIGHT,
    array,
    count,
    gguf,
    model,
    number,
    numbers,
    pair,
    strings,
    tensor,
    text,
    words,
)

HUGE = 2**64 - 1
TOKENS = strings("tokenizer.ggml.tokens", ["a", "b", "c"])
BIG_ENDIAN = b"GGUF" + struct.pack(">IQQ", 3, 1, 1)
GAP = [WEIGHT, tensor("b", offset=256)]
OVERLAP = [WEIGHT, tensor("b", offset=64)]
SWAPPED = [tensor("b", offset=128), WEIGHT]

HOSTILE = {
    "empty": (b"", "no GGUF file"),
    "three bytes": (b"GGU", "no GGUF file"),
    "other magic": (gguf(magic=b"GGUX"), "no GGUF file"),
    "lower case magic": (gguf(magic=b"gguf"), "no GGUF file"),
    "zip": (b"PK\3\4" + bytes(100), "PyTorch"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "older format": (b"tjgg" + bytes(100), "older than GGUF"),
    "magic alone": (b"GGUF", "ends inside"),
    "no counts": (gguf()[:20], "ends inside"),
    "version 0": (gguf(version=0), "version 0"),
    "version 1": (gguf(version=1), "version 1"),
    "version 4": (gguf(version=4), "version 4"),
    "version huge": (gguf(version=2**32 - 1), "version 4294967295"),
    "big-endian": (BIG_ENDIAN + bytes(100), "big-endian"),
    "tensors: 2^64 - 1": (gguf(claims=(HUGE, None)), "claims 18446744073709551615 tensors"),
    "tensors: 2^63": (gguf(claims=(2**63, None)), "tensors"),
    "tensors: more than room": (gguf(claims=(50_000, None)), "room"),
    "tensors: one too many": (gguf(claims=(2, None)), ""),
    "keys: 2^64 - 1": (gguf(claims=(None, HUGE)), "claims 18446744073709551615 keys"),
    "keys: more than room": (gguf(claims=(None, 60_000)), "room"),
    "keys: one too many": (gguf(claims=(None, 2)), ""),
    "keys: one too few": (gguf([ARCHITECTURE, count("k", 1)], claims=(None, 1)), ""),
    "key: empty": (gguf([ARCHITECTURE, count("", 1)]), "a key is empty"),
    "key: NUL": (gguf([ARCHITECTURE, count("a\0b", 1)]), "NUL"),
    "key: no UTF-8": (gguf([ARCHITECTURE, pair(b"\xff\xfe", U32, 1)]), "a key is not UTF-8"),
    "key: surrogate": (gguf([ARCHITECTURE, pair(b"\xed\xa0\x80", U32, 1)]), "a key is not UTF-8"),
    "key: 65,536 bytes": (gguf([ARCHITECTURE, count("k" * 65_536, 1)]), "65535 are the most"),
    "key: length 2^64 - 1": (gguf([ARCHITECTURE, struct.pack("<Q", HUGE) + bytes(20)]), "a key has 1844"),
    "key: twice": (gguf([ARCHITECTURE, count("k", 1), count("k", 2)]), "'k' stands twice"),
    "key: cut": (gguf([text("k" * 9)], [], data_bytes=0, alignment=1), "ends inside"),
    "value: type 13": (gguf([ARCHITECTURE, text("k") + struct.pack("<II", 13, 0)]), "unknown type 13"),
    "value: type 2^32 - 1": (gguf([ARCHITECTURE, text("k") + struct.pack("<iI", -1, 0)]), "unknown type 4294967295"),
    "value: bool of 2": (gguf([ARCHITECTURE, pair("k", BOOL, 2)]), "'k' is a bool that is neither"),
    "value: bool of 255": (gguf([ARCHITECTURE, pair("k", BOOL, 255)]), "neither 0 nor 1"),
    "value: string too long": (gguf([ARCHITECTURE, text("k") + struct.pack("<IQ", STRING, 9999)]), "ends inside"),
    "value: string of 2^64 - 1": (gguf([ARCHITECTURE, text("k") + struct.pack("<IQ", STRING, HUGE)]), "ends inside"),
    "array: of arrays": (gguf([ARCHITECTURE, array("k", ARRAY, bytes(12), 1)]), "array of arrays"),
    "array: type 99": (gguf([ARCHITECTURE, array("k", 99, b"", 1)]), "unknown type 99"),
    "array: empty, type 99": (gguf([ARCHITECTURE, array("k", 99, b"", 0)]), "unknown type 99"),
    "array: 2^64 - 1 bytes": (gguf([ARCHITECTURE, array("k", U8, b"", HUGE)]), "ends inside"),
    "array: 2^61 doubles": (gguf([ARCHITECTURE, array("k", U64, b"", 2**61)]), "ends inside"),
    "array: 2^64 - 1 bools": (gguf([ARCHITECTURE, array("k", BOOL, b"", HUGE)]), "ends inside"),
    "array: bool of 3": (gguf([ARCHITECTURE, numbers("k", BOOL, [0, 1, 3])]), "neither 0 nor 1"),
    "array: bool of 3 among many": (gguf([ARCHITECTURE, numbers("k", BOOL, [1] * 5000 + [3])]), "neither 0 nor 1"),
    "array: 2^64 - 1 strings": (gguf([ARCHITECTURE, array("k", STRING, b"", HUGE)]), "strings"),
    "array: more strings than room": (gguf([ARCHITECTURE, array("k", STRING, b"", 100_000)]), "ends inside"),
    "array: string of 2^64 - 1": (gguf([ARCHITECTURE, array("k", STRING, number(U64, HUGE), 1)]), "ends inside"),
    "array: string to 2^64": (gguf([ARCHITECTURE, array("k", STRING, number(U64, HUGE - 8), 2)]), "ends inside"),
    "alignment: 0": (gguf([ARCHITECTURE, count("general.alignment", 0)]), "alignment of 0"),
    "alignment: 24": (gguf([ARCHITECTURE, count("general.alignment", 24)]), "alignment of 24"),
    "alignment: uint64": (gguf([ARCHITECTURE, pair("general.alignment", U64, 32)]), "not a uint32"),
    "alignment: bool": (gguf([ARCHITECTURE, pair("general.alignment", BOOL, 1)]), "not a uint32"),
    "alignment: array": (gguf([ARCHITECTURE, numbers("general.alignment", U32, [32])]), "not a uint32"),
    "alignment: 2^31": (gguf([ARCHITECTURE, count("general.alignment", 2**31)]), "ends before"),
    "architecture: none": (gguf([count("k", 1)]), "no general.architecture"),
    "architecture: a number": (gguf([count("general.architecture", 1)]), "no plain name"),
    "architecture: an array": (gguf([strings("general.architecture", ["llama"])]), "no plain name"),
    "architecture: empty": (model(architecture=""), "no plain name"),
    "architecture: a path": (model(architecture="../llama"), "no plain name"),
    "architecture: a new line": (model(architecture="llama\n"), "no plain name"),
    "architecture: a percent sign": (model(architecture="%s%n"), "no plain name"),
    "architecture: other digits": (model(architecture="llama٣"), "no plain name"),
    "architecture: 65 letters": (model(architecture="l" * 65), "no plain name"),
    "tensors: none": (gguf(tensors=[]), "no tensors"),
    "name: empty": (gguf(tensors=[tensor("")]), "name is empty"),
    "name: NUL": (gguf(tensors=[tensor("a\0b")]), "NUL"),
    "name: no UTF-8": (gguf(tensors=[tensor(b"\xc3\x28")]), "name is not UTF-8"),
    "name: 64 bytes": (gguf(tensors=[tensor("n" * 64)]), "63 are the most"),
    "name: 2^64 - 1 bytes": (gguf(tensors=[number(U64, HUGE) + bytes(40)]), "63 are the most"),
    "name: twice": (gguf(tensors=[WEIGHT, tensor("a.weight", offset=128)], data_bytes=256), "two tensors"),
    "shape: 5 dimensions": (gguf(tensors=[tensor("t", (32, 1, 1, 1, 1))]), "5 dimensions"),
    "shape: 2^32 - 1 dimensions": (gguf(tensors=[tensor("t", (32,), rank=2**32 - 1)]), "dimensions"),
    "shape: a zero": (gguf(tensors=[tensor("t", (32, 0))]), "'t' is empty"),
    "shape: a zero first": (gguf(tensors=[tensor("t", (0,))]), "'t' is empty"),
    "shape: -32": (gguf(tensors=[tensor("t", (2**64 - 32,))]), "no machine"),
    "shape: 2^63 - 1": (gguf(tensors=[tensor("t", (2**63 - 1,))]), "no machine"),
    "shape: wraps to 32": (gguf(tensors=[tensor("t", (2**59, 32 * 2**5))]), "no machine"),
    "shape: wraps to 0": (gguf(tensors=[tensor("t", (2**32, 2**32))]), "no machine"),
    "shape: wraps in four": (gguf(tensors=[tensor("t", (2**16,) * 4)]), "no machine"),
    "shape: bytes wrap": (gguf(tensors=[tensor("t", (2**62,))]), "larger than the file"),
    "type: Q4_2": (gguf(tensors=[tensor("t", kind=4)]), "Q4_2, which llama.cpp gave up"),
    "type: Q4_0_4_4": (gguf(tensors=[tensor("t", kind=31)]), "gave up"),
    "type: 43": (gguf(tensors=[tensor("t", kind=43)]), "unknown type 43"),
    "type: 2^32 - 1": (gguf(tensors=[tensor("t", kind=2**32 - 1)]), "unknown type"),
    "row: 31 of Q4_0": (gguf(tensors=[tensor("t", (31,), 2)]), "multiples of 32"),
    "row: 128 of Q4_K": (gguf(tensors=[tensor("t", (128, 2), 12)]), "multiples of 256"),
    "row: one number of Q8_0": (gguf(tensors=[tensor("t", (), 8)]), "multiples of 32"),
    "offset: 1": (gguf(tensors=[tensor("t", offset=1)]), "begins at 1"),
    "offset: 32 for the first": (gguf(tensors=[tensor("t", offset=32)], data_bytes=500), "begins at 32"),
    "offset: 2^64 - 32": (gguf(tensors=[tensor("t", offset=2**64 - 32)]), "begins at 1844"),
    "offset: a gap": (gguf(tensors=GAP, data_bytes=500), "'b' begins at 256 where 128"),
    "offset: an overlap": (gguf(tensors=OVERLAP, data_bytes=500), "'b' begins at 64 where 128"),
    "offset: out of order": (gguf(tensors=SWAPPED, data_bytes=500), "'b' begins at 128 where 0"),
    "data: one byte short": (gguf()[:-1], "ends before its tensors do"),
    "data: none": (gguf(data_bytes=0), ""),
    "data: larger than the file": (gguf(tensors=[tensor("t", (2**40,))]), "larger than the file"),
    "vocabulary: a string": (model(words("tokenizer.ggml.tokens", "a")), "tokens is not an array of string"),
    "vocabulary: numbers": (model(numbers("tokenizer.ggml.tokens", U32, [1])), "tokens is not an array of string"),
    "vocabulary: merges are numbers": (model(TOKENS, numbers("tokenizer.ggml.merges", I32, [1])), "merges"),
    "vocabulary: scores are bytes": (model(TOKENS, numbers("tokenizer.ggml.scores", I8, [1, 2, 3])), "scores"),
    "vocabulary: scores are strings": (model(TOKENS, strings("tokenizer.ggml.scores", ["a"] * 3)), "scores"),
    "vocabulary: few scores": (model(TOKENS, numbers("tokenizer.ggml.scores", F32, [1, 2])), "2 tokens, there are 3"),
    "vocabulary: types are bytes": (model(TOKENS, numbers("tokenizer.ggml.token_type", I8, [1] * 3)), "token_type"),
    "vocabulary: few types": (model(TOKENS, numbers("tokenizer.ggml.token_type", I32, [1])), "1 tokens, there are 3"),
    "vocabulary: a type": (model(TOKENS, count("tokenizer.ggml.token_type", 1)), "token_type"),
    "vocabulary: charsmap of strings": (model(strings("tokenizer.ggml.precompiled_charsmap", ["a"])), "charsmap"),
    "split: a later part without tensors": (gguf([pair("split.no", U16, 1)], []), "no tensors"),
    "split: number 0 without architecture": (gguf([pair("split.no", U16, 0)]), "no general.architecture"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_in_one_line_that_says_why(case: str) -> None:
    data, why = HOSTILE[case]
    with pytest.raises(LoadFailed) as refused:
        parse_header(data, len(data))
    assert why in refused.value.message
    assert "\n" not in refused.value.message


def test_there_are_many_of_them() -> None:
    assert len(HOSTILE) >= 60


def test_a_header_longer_than_any_is_refused_whatever_the_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gguf([ARCHITECTURE, numbers("k", U64, [0] * 5000)])
    monkeypatch.setattr(cursor, "MAX_HEADER_BYTES", 2**15)
    with pytest.raises(LoadFailed, match="header is longer than"):
        parse_header(data, len(data))


def test_a_header_with_very_many_strings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "MAX_STRINGS", 100)
    fine, many = (model(strings("k", ["s"] * length)) for length in (100, 101))
    assert parse_header(fine, len(fine)).metadata["k"] == metadata.ArrayInfo(element_type="string", count=100)
    with pytest.raises(LoadFailed, match="101 strings"):
        parse_header(many, len(many))


def test_names_in_messages_are_short_and_on_one_line() -> None:
    key = "long\n" * 1000
    data = model(pair(key, BOOL, 2))
    with pytest.raises(LoadFailed) as refused:
        parse_header(data, len(data))
    assert len(refused.value.message) < 300
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("seed", range(3))
def test_mutants_of_a_real_header_raise_nothing_else(seed: int, tiny_model: Path) -> None:
    """Whatever bytes are changed, the parser answers, or raises one of its two errors; so do the facts."""
    whole = tiny_model.read_bytes()
    length = parse_header(whole, len(whole)).data_offset
    source = random.Random(seed)
    outcomes = [_outcome(bytearray(whole[:length]), len(whole), source) for _ in range(500)]
    assert min(outcomes.count(True), outcomes.count(False)) > 20


def _outcome(data: bytearray, file_bytes: int, source: random.Random) -> bool:
    """Whether a mutant is accepted. Its weights are not here: the header alone says what is refused."""
    mutate(data, source)
    try:
        facts_of([parse_header(data, file_bytes)])
    except (LoadFailed, Truncated):
        return False
    return True


def mutate(data: bytearray, source: random.Random) -> None:
    """Change a few bytes; more often than not one of a count, a type or an offset, which are not letters."""
    for _ in range(source.choice((1, 1, 1, 2, 8))):
        place = source.randrange(len(data))
        way = source.randrange(5)
        if way == 0:
            data[place] ^= 1 << source.randrange(8)
        elif way == 1:
            data[place] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way == 2:
            data[place : place + 8] = source.choice((bytes(8), b"\xff" * 8, b"\0" * 7 + b"\x80", source.randbytes(8)))
        elif way == 3:
            del data[place : place + source.randrange(1, 9)]
        else:
            data[place:place] = source.randbytes(source.randrange(1, 9))
