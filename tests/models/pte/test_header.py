"""What a program of ExecuTorch says of itself, and files that are damaged, hostile or none."""

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from localllm.errors import LoadFailed, ModelNotFound
from localllm.models.gguf.cursor import Truncated
from localllm.models.pte import header
from localllm.models.pte.header import ProgramFacts, parse_program, read_program
from tests.models.pte.programs import CONSTANTS, Forward, Layout, changed, program

WHOLE = program()


def facts_of(data: bytes) -> ProgramFacts:
    return parse_program(data, len(data))


def refused(data: bytes) -> str:
    with pytest.raises(LoadFailed) as caught:
        facts_of(data)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_program_says_what_it_is() -> None:
    assert facts_of(WHOLE) == ProgramFacts(
        size_bytes=len(WHOLE),
        methods=("forward", *CONSTANTS),
        constants={name: value if isinstance(value, tuple) else (value,) for name, value in CONSTANTS.items()},
        context_tokens=512,
        vocabulary=256,
        layers=2,
        most_tokens=64,
        is_dynamic=True,
        backends=("XnnpackBackend",),
        delegates=2,
        has_forward=True,
        planned_bytes=70_000,
    )


def test_a_file_is_read_no_further_than_its_program(tmp_path: Path) -> None:
    """Which is a thousandth of a real one."""
    path = tmp_path / "x.pte"
    path.write_bytes(program(weights=b"x" * 100_000))
    assert read_program(path).size_bytes == path.stat().st_size
    with pytest.raises(Truncated) as caught:
        parse_program(WHOLE[:64], len(WHOLE))
    assert caught.value.wanted_bytes < len(WHOLE)
    assert parse_program(WHOLE[: caught.value.wanted_bytes], len(WHOLE)) == facts_of(WHOLE)


def test_without_a_header_it_is_the_whole_file() -> None:
    data = program(layout=Layout(has_header=False), weights=b"")
    assert facts_of(data).context_tokens == 512


@pytest.mark.parametrize(
    ("constants", "forward", "expected"),
    [
        ({}, Forward(), {"context_tokens": None, "vocabulary": 256, "layers": None, "most_tokens": 64}),
        (changed({"get_max_context_len": None}), Forward(), {"context_tokens": 65}),
        (changed({}), Forward(tokens=(1, 1), is_dynamic=False), {"most_tokens": 1, "is_dynamic": False}),
        (changed({}), None, {"most_tokens": 64, "vocabulary": 256, "has_forward": False, "backends": ()}),
        (changed({"get_vocab_size": None}), None, {"vocabulary": None}),
        (changed({"get_vocab_size": 255}), Forward(), {"vocabulary": None}),  # which contradicts the 256 logits
        (changed({"get_vocab_size": None}), Forward(logits=(1, -1)), {"vocabulary": None}),
        (changed({"get_eos_ids": ()}), None, {"layers": 2}),
        (changed({}), Forward(backends=("A", "B", "A")), {"backends": ("A", "B"), "delegates": 3}),
        (changed({}), Forward(backends=()), {"backends": (), "delegates": 0}),
        (changed({}), Forward(planned=(10, -5, 7)), {"planned_bytes": 17}),
    ],
)
def test_what_is_left_out_is_not_known(
    constants: dict[str, int | tuple[int, ...]], forward: Forward | None, expected: dict[str, object]
) -> None:
    found = facts_of(program(constants, forward))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no ExecuTorch program: it begins with b''"),
        (b"GGUF\3\0\0\0" + bytes(100), "is no ExecuTorch program"),
        (b"\0\0\0\0ET11" + bytes(100), "is no ExecuTorch program"),
        (b"\0\0\0\0ET12", "damaged"),
        (b"\0\0\0\0ET12" + bytes(5000), "damaged"),
        (WHOLE[:-1], "it ends early"),
        (program(layout=Layout(program_bytes=10**15)), "it ends early"),
        (program(layout=Layout(program_bytes=20)), "its header is too short"),
        (program(layout=Layout(header_bytes=8)), "its header is too short"),
        (program(layout=Layout(segments_bytes=10**15)), "it ends early"),
        (program(layout=Layout(segments_offset=50)), "overlap"),
        (program(layout=Layout(segments_offset=0)), "a segment of it lies beyond its end"),
        (program(layout=Layout(segment=(0, 701))), "a segment of it lies beyond its end"),
        (program(layout=Layout(segment=(2**64 - 1, 2**64 - 1))), "a segment of it lies beyond its end"),
        (program(changed({"get_vocab_size": 0})), "its get_vocab_size is 0"),
        (program(changed({"get_n_layers": -3})), "its get_n_layers is -3"),
        (program(changed({}), Forward(tokens=range(17))), "a list of 17 where 16 are the most"),
        (program({f"method_{index}": 1 for index in range(101)}), "where 100 are the most"),
        (program({"x" * 300: 1}), "a string in it is too long"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_told(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_a_file_that_ends_early() -> None:
    for length in range(len(WHOLE)):
        words = refused(WHOLE[:length])
        assert length < 40 or "ends early" in words


def test_no_byte_leads_out_of_the_file() -> None:
    """Every byte of the program changed, once to all bits and once at random."""
    noise = random.Random(0)
    taken = 0
    for place in range(len(WHOLE)):
        for value in (255, noise.randrange(256)):
            data = bytearray(WHOLE)
            data[place] = value
            with suppress(LoadFailed):
                facts_of(bytes(data))
                taken += 1
    assert taken > 700  # those in the weights


def test_a_program_with_its_weights_inside_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_PROGRAM_BYTES", 100)
    assert "export it anew" in refused(WHOLE)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"there is no file .*gone\.pte"):
        read_program(tmp_path / "gone.pte")
    with pytest.raises(LoadFailed, match="cannot read"):
        read_program(Path("a\0b"))
    (tmp_path / "broken.pte").write_bytes(WHOLE[:100])
    with pytest.raises(LoadFailed, match=r"broken\.pte: .* it ends early: 100 bytes are here"):
        read_program(tmp_path / "broken.pte")
    with pytest.raises(LoadFailed, match="no regular file"):
        read_program(Path(os.devnull))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pte")
    with pytest.raises(LoadFailed, match="no regular file"):
        read_program(tmp_path / "pipe.pte")
