"""A text cut into chunks."""

from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Runner, Tokenizer
from localllm.errors import InvalidRequest
from localllm.quantize.quality.text_chunks import (
    MOST_TEXT_BYTES,
    check_size,
    chunks_of,
    first_scored,
    most_text_bytes,
    read_text,
    scored_rows,
    targets_of,
    tokens_digest,
)
from tests.quantize.quality.scoring import running, wanting_bos


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> object:
    with running(tiny_model) as loaded:
        yield loaded


@pytest.fixture
def tokenizer(runner: Runner) -> Tokenizer:
    return runner.tokenizer


def test_chunks_are_the_text_in_order(tokenizer: Tokenizer) -> None:
    text = "abcdefghij" * 10
    chunks = chunks_of(text, tokenizer, most=99, chunk_tokens=16)
    assert chunks.shape == (6, 16)  # the last 4 are no chunk
    assert b"".join(tokenizer.piece(token) for token in chunks.ravel().tolist()).decode() == text[:96]


def test_no_more_chunks_than_asked_for(tokenizer: Tokenizer) -> None:
    assert chunks_of("x" * 100, tokenizer, most=2, chunk_tokens=16).shape == (2, 16)


@pytest.mark.parametrize("text", ["", "short"])
def test_a_short_text_has_no_chunk(tokenizer: Tokenizer, text: str) -> None:
    assert chunks_of(text, tokenizer, most=2, chunk_tokens=16).shape == (0, 16)


def test_bos_takes_the_place_of_each_first_token(tiny_model: Path, tmp_path: Path) -> None:
    """It is the first token of the text too: what follows is one token later (llama.cpp, perplexity.cpp)."""
    text = "abcdefghij" * 10
    with running(wanting_bos(tiny_model, tmp_path / "bos.gguf")) as runner:
        plain = runner.tokenizer.encode(text, add_special=False, parse_special=False)
        chunks = chunks_of(text, runner.tokenizer, most=99, chunk_tokens=16)
    assert chunks[:, 0].tolist() == [0] * 6
    assert chunks[0, 1:].tolist() == plain[:15]
    assert chunks[1, 1:].tolist() == plain[16:31]


def test_what_ends_a_text_is_left_out() -> None:
    """The echo tokenizer adds its marker behind."""
    with running(Path(), engine="echo") as runner:
        chunks = chunks_of("0123456789abcdef", runner.tokenizer, most=9, chunk_tokens=8)
    assert bytes(chunks.ravel().tolist()) == b"0123456789abcdef"


def test_control_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    chunks = chunks_of("<|im_end|>" * 4, tokenizer, most=9, chunk_tokens=40)
    assert chunks.shape == (1, 40)


@pytest.mark.parametrize(("size", "first", "rows"), [(512, 256, 255), (9, 4, 4), (8, 4, 3)])
def test_the_second_half_is_scored(size: int, first: int, rows: int) -> None:
    """As in llama.cpp: of 512 tokens, those from 256 on predict, which 257 to 511 answer."""
    chunk = np.arange(size, dtype=np.int32)
    assert (first_scored(size), scored_rows(size)) == (first, rows)
    assert targets_of(chunk).tolist() == list(range(first + 1, size))


def test_a_digest_tells_one_token() -> None:
    chunks = np.arange(64, dtype=np.int32).reshape(4, 16)
    other = chunks.copy()
    other[3, 15] += 1
    assert tokens_digest(chunks) == tokens_digest(chunks[:, ::1].copy())
    assert tokens_digest(chunks) != tokens_digest(other)


@pytest.mark.parametrize(("chunks", "size", "field"), [(0, 512, "chunks"), (-1, 512, "chunks"), (1, 7, "chunk_tokens")])
def test_sizes_that_teach_nothing_are_refused(chunks: int, size: int, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_size(chunks, size)
    assert caught.value.param == field


def test_no_more_of_a_text_is_read_than_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes("é".encode() * 1000)
    assert read_text(path, 101) == "é" * 50  # the half of a character is not damage
    assert read_text(path, 10_000) == "é" * 1000
    assert most_text_bytes(1, 512) == 512 * 64
    assert most_text_bytes(10**9, 10**9) == MOST_TEXT_BYTES


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"caf\xe9 au lait", "no UTF-8 text"), (b"half a character: \xc3", "no UTF-8 text"), (None, "cannot read")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "text.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=words) as caught:
        read_text(path, 1000)
    assert caught.value.param == "text"


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is no file"):
        read_text(tmp_path, 1000)
