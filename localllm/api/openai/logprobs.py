"""Log probabilities of an answer's tokens, in the shapes of chats and of text completions."""

import codecs
from collections.abc import Sequence

from msgspec import Struct

from localllm.types import TokenLogprob, TopLogprob

LEAST = -9999.0  # what OpenAI writes for tokens that are next to impossible; JSON has no infinity


class ChatTopLogprob(Struct, frozen=True):
    """A token that could have come. `token` shows bytes that are no whole character as U+FFFD; `bytes` has them."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(Struct, frozen=True):
    """A token of the answer, and the likeliest in its place."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[ChatTopLogprob]


class ChatLogprobs(Struct, frozen=True):
    """`logprobs` of a chat's choice."""

    content: list[ChatTokenLogprob]
    refusal: None = None

    @classmethod
    def of(cls, tokens: Sequence[TokenLogprob]) -> "ChatLogprobs":
        """Those of these tokens."""
        return cls([_chat_token(token) for token in tokens])


class TextLogprobs(Struct, frozen=True):
    """`logprobs` of a text completion's choice: parallel lists, one entry a token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]  # the token's own included
    text_offset: list[int]  # characters of the answer before the one that the token belongs to


class TextOffsets:
    """Counts the characters of one choice as its tokens come, so that a stream's chunks go on where the last ended."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def logprobs(self, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        """Those of the next tokens."""
        offsets = []
        for token in tokens:
            offsets.append(self._characters)
            self._characters += len(self._decoder.decode(token.piece))
        return TextLogprobs(
            tokens=[_text(token.piece) for token in tokens],
            token_logprobs=[max(token.logprob, LEAST) for token in tokens],
            top_logprobs=[_by_text(token) for token in tokens],
            text_offset=offsets,
        )


def _chat_token(token: TokenLogprob) -> ChatTokenLogprob:
    top = [_chat_top(other) for other in token.top]
    return ChatTokenLogprob(_text(token.piece), max(token.logprob, LEAST), list(token.piece), top)


def _chat_top(token: TopLogprob) -> ChatTopLogprob:
    return ChatTopLogprob(_text(token.piece), max(token.logprob, LEAST), list(token.piece))


def _by_text(token: TokenLogprob) -> dict[str, float]:
    """Where several pieces have the same text, the likeliest counts."""
    found: dict[str, float] = {}
    for piece, logprob in ((token.piece, token.logprob), *((other.piece, other.logprob) for other in token.top)):
        found[_text(piece)] = max(logprob, found.get(_text(piece), LEAST))
    return found


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
