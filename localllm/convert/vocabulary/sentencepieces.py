"""sentencepiece's own file, tokenizer.model: Llama 2, Mistral, Gemma, Phi-3.

The format is sentencepiece's src/sentencepiece_model.proto; the types of its pieces have the numbers of GGUF's.
"""

import math
import re
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as proto

from localllm.convert.json_object import AGAIN
from localllm.convert.vocabulary.added_tokens import added_type
from localllm.convert.vocabulary.pieces import SPACE, Pieces, scored_pieces
from localllm.convert.vocabulary.tokenizer_json import AddedToken
from localllm.convert.vocabulary.tokens import CONTROL, UNKNOWN, USER_DEFINED, Tokens
from localllm.errors import LoadFailed

NAME = "tokenizer.model"
ADDED_SCORE = -1000.0  # as llama.cpp's converter writes it (conversion/base.py, _create_vocab_sentencepiece)

_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")  # its file: a token in base64 and its rank, line by line
_MODEL_TYPES = {1: "UNIGRAM", 2: "BPE", 3: "WORD", 4: "CHAR"}


def is_tiktoken(data: bytes) -> bool:
    """Whether a file called tokenizer.model is of another library: Llama 3 has one in its original form."""
    return _TIKTOKEN.match(data) is not None


def sentencepieces(data: bytes, added: Iterable[AddedToken], size: int) -> Pieces:
    """The vocabulary of the file `data`, with `added` over it: a checkpoint may rename tokens that were spare.

    Raises LoadFailed for a file that is none, and for what llama.cpp would do otherwise.
    """
    try:
        model = proto.ModelProto.FromString(data)
    except DecodeError as error:
        raise LoadFailed(f"{NAME} is not sentencepiece's ({error}); {AGAIN}") from error
    if not model.pieces:
        raise LoadFailed(f"{NAME} holds no pieces; {AGAIN}")
    _check(model)
    added = list(added)
    tokens = Tokens(size)
    replaced = {token.id for token in added}
    ids: dict[str, int] = {}
    for place, piece in enumerate(model.pieces):
        if not isinstance(piece.piece, str) or not math.isfinite(piece.score):  # bytes: not UTF-8
            raise LoadFailed(f"{NAME}: piece {place} has no text or no score; {AGAIN}")
        if place not in replaced:
            ids[piece.piece] = place
            tokens.add(place, *_piece(piece), file=NAME)
    for token in added:
        ids[token.content] = token.id
        tokens.put(token.id, *added_piece(token))
    roles = _roles(model, tokens.types())
    has_prefix = model.normalizer_spec.add_dummy_prefix
    return scored_pieces(tokens, file=NAME, ids=ids, roles=roles, add_space_prefix=has_prefix)


def added_piece(token: AddedToken) -> tuple[str, int, float]:
    """Text, type and score of an added token. llama.cpp looks for USER_DEFINED ones in text as it was typed."""
    kind = added_type(token)
    text = token.content if kind == CONTROL else token.content.replace(SPACE, " ")
    return text, kind, ADDED_SCORE


def _piece(piece: proto.ModelProto.SentencePiece) -> tuple[str, int, float]:
    if piece.type == USER_DEFINED:
        return added_piece(AddedToken(id=0, content=piece.piece))
    return piece.piece, int(piece.type), piece.score


def _check(model: proto.ModelProto) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type != trainer.BPE:
        kind = _MODEL_TYPES.get(trainer.model_type, str(trainer.model_type))
        raise LoadFailed(f"{NAME}: trainer_spec.model_type is {kind}; only BPE can be converted")
    wrong = {
        "normalizer_spec.precompiled_charsmap": bool(normalizer.precompiled_charsmap),
        "normalizer_spec.remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
        "normalizer_spec.escape_whitespaces": not normalizer.escape_whitespaces,
        "trainer_spec.treat_whitespace_as_suffix": trainer.treat_whitespace_as_suffix,
    }
    for field, is_wrong in wrong.items():
        if is_wrong:
            raise LoadFailed(f"{NAME}: {field} asks for what llama.cpp does not do with such a vocabulary")


def _roles(model: proto.ModelProto, types: tuple[int, ...]) -> dict[str, int]:
    spec = model.trainer_spec
    named = {"bos": spec.bos_id, "eos": spec.eos_id, "unk": spec.unk_id, "pad": spec.pad_id}
    return {
        kind: place for kind, place in named.items() if 0 <= place < len(types) and types[place] in {CONTROL, UNKNOWN}
    }
