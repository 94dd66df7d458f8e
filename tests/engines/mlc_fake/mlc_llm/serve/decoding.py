"""The decoding thread of the fake: answers that follow from the tokens of the prompt, a token a round for each."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlc_llm.protocol import Request, Usage

ROUND_SECONDS = 0.0005
ABORTED: list[str] = []  # requests, in this process
_WORDS = " the quiet river é bends, 日 and so it goes; boats, bread."


class Output:
    """What one round brought one request: tokens, an end, or at last its usage."""

    def __init__(self, request_id: str, tokens: list[int], finish: str | None, usage: Usage | None = None) -> None:
        self.request_id, self.tokens, self.finish, self.usage = request_id, tokens, finish, usage


class Vocabulary:
    """Bytes of the tokens of a tokenizer.json of bytes, and which end an answer, by mlc-chat-config.json."""

    def __init__(self, folder: Path) -> None:
        document = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        bytes_of = _bytes_by_letter()
        self.ids = {
            bytes([bytes_of[text]]): token for text, token in document["model"]["vocab"].items() if len(text) == 1
        }
        self.pieces = {token: piece for piece, token in self.ids.items()}
        config = json.loads((folder / "mlc-chat-config.json").read_text("utf-8"))
        self.stops: list[int] = config["conv_template"]["stop_token_ids"]

    def tokens(self, text: str) -> list[int]:
        return [self.ids[bytes([byte])] for byte in text.encode()]


class Row:
    """A request that runs."""

    def __init__(self, request: Request, vocabulary: Vocabulary, context_tokens: int, cached_tokens: int) -> None:
        self.request = request
        self.made: list[int] = []
        self._vocabulary = vocabulary
        self._room = context_tokens - len(request.prompt)
        self._cached_tokens = cached_tokens
        salt = 0 if request.temperature < 1e-5 else request.seed if request.seed is not None else time.time_ns()
        digest = hashlib.sha256(f"{request.prompt} {salt}".encode()).digest()
        words = '{"answer": 1}' if request.is_json else _WORDS[digest[0] % 20 :] + _WORDS * (2 + digest[1] % 3)
        self._left = vocabulary.tokens(words)
        self._endless = vocabulary.tokens(_WORDS)

    def advance(self) -> list[Output]:
        """One token."""
        request = self.request
        if not self._left and (not request.ignore_eos or request.is_json):
            self.made.append(self._vocabulary.stops[0])
            return [Output(request.id, [], "stop"), self.usage()]
        if not self._left:
            self._left = list(self._endless)
        token = self._left.pop(0)
        self.made.append(token)
        is_over = len(self.made) == request.max_tokens or len(self.made) >= self._room
        output = Output(request.id, [token], "length" if is_over else None)
        return [output, self.usage()] if is_over else [output]

    def usage(self) -> Output:
        prompt = len(self.request.prompt)
        return Output(self.request.id, [], None, Usage(prompt, len(self.made), prompt - self._cached_tokens))


class Decoder:
    """Mlc's threaded engine: requests come and go from any thread, outputs leave by a callback on its own."""

    def __init__(self, vocabulary: Vocabulary, rows: int, context_tokens: int, *, caches: bool) -> None:
        self._vocabulary, self._rows, self._context_tokens, self._caches = vocabulary, rows, context_tokens, caches
        self.callback: Callable[[list[Output]], None] = lambda _outputs: None
        self._waiting: list[Request] = []
        self._running: list[Row] = []
        self._late: list[Output] = []
        self._known: list[list[int]] = []
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def add(self, request: Request) -> None:
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def abort(self, request_id: str) -> None:
        """An aborted request is told of like a finished one, with a reason that no protocol of theirs has; and late,
        when the next one is taken in."""
        with self._changed:
            there = [row for row in self._running if row.request.id == request_id]
            self._running = [row for row in self._running if row.request.id != request_id]
            self._waiting = [request for request in self._waiting if request.id != request_id]
            ABORTED.append(request_id)
            for row in there:
                self._late += [Output(request_id, [], "abort"), row.usage()]

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_over or self._waiting or self._running)
                if self._is_over:
                    return
                while self._waiting and len(self._running) < self._rows:
                    self._admit(self._waiting.pop(0))
                outputs, self._late = self._late, []
                outputs += [output for row in self._running for output in row.advance()]
                ended = {output.request_id for output in outputs if output.usage is not None}
                self._running = [row for row in self._running if row.request.id not in ended]
            self.callback(outputs)
            time.sleep(ROUND_SECONDS)

    def _admit(self, request: Request) -> None:
        known = max((_common(request.prompt, other) for other in self._known), default=0) if self._caches else 0
        self._known.append(request.prompt)
        self._running.append(Row(request, self._vocabulary, self._context_tokens, min(known, len(request.prompt) - 1)))


def _common(one: list[int], other: list[int]) -> int:
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def _bytes_by_letter() -> dict[str, int]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
