"""A text as chunks of tokens, each of which a model reads by itself.

As llama.cpp's tools/perplexity does (`perplexity.cpp`, function `perplexity`), so that figures can be compared: the
text is tokenized once, cut into whole chunks, the tokens that begin a text (BOS) take the place of each chunk's first
ones, and what follows its middle is scored, so that every prediction has half a chunk of context.
"""

import codecs
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localllm.engines.base import TokenArray, Tokenizer
from localllm.errors import InvalidRequest

Chunks = NDArray[np.int32]  # [chunks, chunk_tokens]

LEAST_CHUNK_TOKENS = 8
BYTES_PER_TOKEN = 64  # far more than texts have; what lies behind is not read
MOST_TEXT_BYTES = 16 * 2**20  # some four million tokens
_PROBE = "a"


def first_scored(chunk_tokens: int) -> int:
    """The first token of a chunk whose successor is predicted; the last is the one before the chunk's last."""
    return chunk_tokens // 2


def scored_rows(chunk_tokens: int) -> int:
    """How many tokens of a chunk are predicted."""
    return chunk_tokens - 1 - first_scored(chunk_tokens)


def most_text_bytes(chunks: int, chunk_tokens: int) -> int:
    """How much of a text is read for so many chunks."""
    return min(MOST_TEXT_BYTES, chunks * chunk_tokens * BYTES_PER_TOKEN)


def check_size(chunks: int, chunk_tokens: int) -> None:
    """Raises InvalidRequest for chunks that nothing could be learned from."""
    if chunks < 1:
        raise InvalidRequest(f"{chunks} chunks of text were asked for; one is the least", param="chunks")
    if chunk_tokens < LEAST_CHUNK_TOKENS:
        raise InvalidRequest(
            f"a chunk of {chunk_tokens} tokens is too short; {LEAST_CHUNK_TOKENS} are the least, 512 are usual",
            param="chunk_tokens",
        )


def read_text(path: Path, most_bytes: int) -> str:
    """The beginning of a UTF-8 file, or all of it. Raises InvalidRequest for what is no such file."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for whoever fills it
        raise InvalidRequest(f"{path} is no file; name a text file", param="text")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes)
            is_whole = not file.read(1)
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=is_whole)
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}", param="text") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no UTF-8 text ({error}); save it as UTF-8", param="text") from error


def chunks_of(text: str, tokenizer: Tokenizer, *, most: int, chunk_tokens: int) -> Chunks:
    """The text's whole chunks, int32 [up to `most`, chunk_tokens]; none where it is shorter than one.

    Names of control tokens in the text are text.
    """
    beginning = _beginning(tokenizer)
    tokens = [*beginning, *tokenizer.encode(text, add_special=False, parse_special=False)]
    count = min(most, len(tokens) // chunk_tokens)
    chunks = np.array(tokens[: count * chunk_tokens], np.int32).reshape(count, chunk_tokens)
    chunks[:, : len(beginning)] = beginning
    return chunks


def tokens_digest(chunks: Chunks) -> str:
    """SHA-256 of the ids, as little-endian int32."""
    return hashlib.sha256(np.ascontiguousarray(chunks, "<i4").tobytes()).hexdigest()


def targets_of(chunk: TokenArray) -> TokenArray:
    """The tokens of a chunk, int32 [chunk_tokens], that are predicted: int32 [scored_rows]."""
    return chunk[first_scored(len(chunk)) + 1 :]


def _beginning(tokenizer: Tokenizer) -> list[int]:
    """What the model wants before a text: BOS or nothing. Tokenizers do not say it other than by doing it."""
    plain = tokenizer.encode(_PROBE, add_special=False, parse_special=False)
    dressed = tokenizer.encode(_PROBE, add_special=True, parse_special=False)
    starts = (start for start in range(len(dressed)) if dressed[start : start + len(plain)] == plain)
    return dressed[: next(starts, 0)]
