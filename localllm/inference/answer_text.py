"""The text of an answer on its way out: whole characters, no part of a stop string, log probabilities beside it."""

from localllm.engines.base import Tokenizer
from localllm.inference.detokenize import Detokenizer
from localllm.inference.stops import StopMatcher
from localllm.inference.trail import LogprobTrail
from localllm.types import TokenLogprob


class AnswerText:
    """Takes tokens, or text, and gives what may be shown of them."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopMatcher(stops)
        self._trail = LogprobTrail()
        self._shown: list[str] = []  # since it was last taken

    def note(self, logprob: TokenLogprob) -> None:
        """The log probability of the token that comes next."""
        self._trail.add(logprob)

    def add_token(self, token: int) -> bool:
        """Say a token; whether a stop string was met, after which nothing counts."""
        text = self._detokenizer.add(token)
        self._trail.reached(len(text))
        return self.add(text)

    def add(self, text: str) -> bool:
        """Say text of whole characters; likewise."""
        shown, is_stopped = self._stops.feed(text)
        self._shown.append(shown)
        return is_stopped

    def finish(self) -> bool:
        """Let go of what was held back; whether a stop string was met in it."""
        is_stopped = self.add(self._detokenizer.flush())
        if not is_stopped:
            self._shown.append(self._stops.flush())
        return is_stopped

    def take(self, *, is_last: bool) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What may be shown since the last call, with the log probabilities that go with it."""
        text = "".join(self._shown)
        self._shown.clear()
        return text, self._trail.shown(len(text), is_last=is_last)
