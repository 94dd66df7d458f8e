"""Log probabilities on their way out: each leaves with the text of its token, and never without it."""

from collections import deque

from localllm.types import TokenLogprob


class LogprobTrail:
    """Text may be held back, because it could begin a stop string or is part of a character; so are the log
    probabilities of its tokens. Those of tokens of which nothing is ever shown are dropped."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, TokenLogprob]] = deque()  # characters of the answer from, to
        self._made = 0  # characters, shown or not
        self._shown = 0
        self._last: TokenLogprob | None = None

    def add(self, logprob: TokenLogprob) -> None:
        """A token was chosen; `reached` will say what it became."""
        self._last = logprob

    def reached(self, characters: int) -> None:
        """The last token completed so many characters."""
        start = self._made
        self._made += characters
        if self._last is not None:
            self._waiting.append((start, self._made, self._last))
            self._last = None

    def shown(self, characters: int, *, is_last: bool) -> tuple[TokenLogprob, ...]:
        """So many more characters are shown; the log probabilities that go with them."""
        self._shown += characters
        going = []
        while self._waiting:
            start, end, logprob = self._waiting[0]
            is_partly_shown = is_last and start < self._shown
            if end > self._shown and not is_partly_shown:
                break
            self._waiting.popleft()
            going.append(logprob)
        return tuple(going)
