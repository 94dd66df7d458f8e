"""What a tokenizer's own file holds, in the form of GGUF; ids of special tokens and templates come from elsewhere."""

from collections.abc import Mapping

from msgspec import Struct

from localllm.convert.vocabulary.tokens import Tokens
from localllm.errors import LoadFailed

BYTE_PAIRS, SENTENCEPIECE = "gpt2", "llama"  # tokenizer.ggml.model
SPACE = "▁"  # stands for a space in sentencepiece's vocabularies


class Pieces(Struct, frozen=True, kw_only=True):
    """Everything by id; see Vocabulary for the fields of the same name."""

    file: str  # that they are out of
    model: str
    pre: str
    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    ids: Mapping[str, int]  # by the text that the checkpoint has for a token
    roles: Mapping[str, int] = {}  # ids that the file itself gives to bos, eos, unk and pad
    add_space_prefix: bool = False


def scored_pieces(
    tokens: Tokens, *, file: str, ids: Mapping[str, int], roles: Mapping[str, int], add_space_prefix: bool
) -> Pieces:
    """A vocabulary of sentencepiece. Raises LoadFailed where llama.cpp would make other ids of it, or end."""
    texts = tokens.texts()
    _check_bytes(texts, file)
    return Pieces(
        file=file,
        model=SENTENCEPIECE,
        pre="default",
        tokens=texts,
        types=tokens.types(),
        scores=tokens.scores(),
        ids=ids,
        roles=roles,
        add_space_prefix=add_space_prefix,
    )


def _check_bytes(tokens: tuple[bytes, ...], file: str) -> None:
    """Raise LoadFailed unless every byte is a token: for a character that is none, llama.cpp looks for its bytes.

    Without one, llama_vocab::byte_to_token ends the process.
    """
    known = set(tokens)
    missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in known and bytes([byte]) not in known]
    if missing:
        raise LoadFailed(
            f"{file} has no token <0x{missing[0]:02X}>; llama.cpp needs one for every byte (byte_fallback)"
        )
