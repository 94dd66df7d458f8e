"""One connection's work: fill segments by ranges, or the whole file where the server knows no ranges."""

import threading
from collections.abc import Callable
from http.client import HTTPResponse

from localllm.models.transfer.answer import LocationRefused, check_range, check_whole
from localllm.models.transfer.board import Board
from localllm.models.transfer.body import Body
from localllm.models.transfer.limiter import Limiter
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile
from localllm.models.transfer.retry import Patience, Stopped, Troubled
from localllm.models.transfer.route import Route, Source
from localllm.models.transfer.wire import Trust, Wire

_IN_FLIGHT_BYTES = 2**20  # in all buffers together: what a kill may cost
_BUFFER_BYTES = 256 * 1024


class Works:
    """What the connections of one transfer share."""

    def __init__(self, part: PartFile, source: Source, options: FetchOptions) -> None:
        self.part = part
        self.source = source
        self.options = options
        self.board = Board(part)
        self.limiter = Limiter(options.bytes_per_second)
        self.trust = Trust()
        self.stop = threading.Event()
        self.is_opened = False  # an answer was right: more connections are worth it
        self.news = threading.Event()  # that has happened, or a thread has ended

    def open(self) -> None:
        """An answer was right."""
        if not self.is_opened:
            self.is_opened = True
            self.news.set()


class Lane:
    """Runs in a thread of its own; `stop` ends it."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._part = works.part
        self._route = Route(works.source)
        self._brought_bytes = 0
        self._patience = Patience(works.options.retry, works.stop, lambda: works.part.size_bytes - self._brought_bytes)
        self.wire = Wire(works.trust, works.options.stall_seconds)
        portion = min(_BUFFER_BYTES, _IN_FLIGHT_BYTES // works.options.connections)
        portion = works.limiter.portion(portion, works.options.connections)
        self._buffer = memoryview(bytearray(portion))

    def fill_segments(self) -> None:
        """Until none is left. Raises what ends the transfer, or Stopped."""
        board = self._works.board
        while (segment := board.take()) is not None:
            try:
                while self._part.missing(segment):
                    self._persist(lambda segment=segment: self._fill(segment))  # type: ignore[misc]
            finally:
                board.give_back(segment)

    def fill_whole(self) -> None:
        """From the beginning, in one answer; what breaks off begins again. Raises as `fill_segments`."""
        while not self._part.is_full:
            self._persist(self._restart)

    def _persist(self, attempt: Callable[[], None]) -> None:
        """Make an attempt; if it fails, pause for the next one or raise what ends the transfer."""
        before = self._brought_bytes
        try:
            attempt()
        except LocationRefused as refused:
            self.wire.close()
            self._works.source.find_again(self._route.location, refused, self._part.size_bytes)
            self._route.forget()
        except Troubled as trouble:
            self.wire.close()
            host = self._route.host
            self._route.forget()
            self._patience.meet(trouble, host, self._brought_bytes - before)

    def _fill(self, segment: int) -> None:
        missing, part = self._part.missing(segment), self._part
        size_bytes = part.expected.size_bytes
        is_whole = len(missing) == size_bytes  # a small file, of which nothing is there
        answer = self._route.ask(self.wire, None if is_whole else missing)
        if is_whole:
            check_whole(answer, size_bytes, self._route.host)
        else:
            check_range(answer, missing, size_bytes, self._route.host)
        self._works.open()
        self._pour(answer, len(missing), lambda data: self._append(segment, data))

    def _append(self, segment: int, data: memoryview) -> None:
        self._part.append(segment, data)
        self._brought_bytes += len(data)

    def _restart(self) -> None:
        """Its bytes count as nothing new: attempts that begin anew must come to an end."""
        answer = self._route.ask(self.wire, None)
        check_whole(answer, self._part.expected.size_bytes, self._route.host)
        self._part.restart()
        self._pour(answer, self._part.expected.size_bytes, self._part.write)

    def _pour(self, answer: HTTPResponse, length: int, write: Callable[[memoryview], None]) -> None:
        body = Body(answer, length, self.wire)
        while body.left_bytes:
            data = self._buffer[: body.read(self._buffer)]
            if self._works.stop.is_set():
                raise Stopped
            write(data)
            self._works.limiter.take(len(data), self._works.stop)
        body.end()
