"""The bytes of an answer, read into a buffer that is used again and again."""

from http.client import HTTPException, HTTPResponse

from localllm.models.transfer.pulse import Pulse
from localllm.models.transfer.retry import Troubled
from localllm.models.transfer.wire import Wire

_WORTH_WRITING_BYTES = 64 * 1024  # over TLS pieces are much smaller, and each write has its cost


class Body:
    """The next `length` bytes that an answer brings."""

    def __init__(self, answer: HTTPResponse, length: int, wire: Wire) -> None:
        self._answer = answer
        self._wire = wire
        self._pulse: Pulse = wire.pulse
        self._error: Exception | None = None
        self.left_bytes = length

    def read(self, view: memoryview) -> int:
        """Fill `view` with what is there, waiting for the first byte alone; returns how many, at least one.

        Raises Troubled at an early end and for what the network does, after what came before has been returned.
        """
        if self._error is not None:
            raise self._trouble(self._error)
        filled, wanted = 0, min(len(view), self.left_bytes)
        try:
            while filled < wanted:
                count = self._read_some(view[filled:wanted])
                if not count:
                    raise EOFError(f"it ended {self.left_bytes - filled} bytes early")
                filled += count
                if filled >= _WORTH_WRITING_BYTES or not self._wire.is_readable():
                    break
        except (OSError, HTTPException, EOFError) as error:
            if not filled:
                raise self._trouble(error) from error
            self._error = error
        self.left_bytes -= filled
        return filled

    def end(self) -> None:
        """After the last byte: keep the connection for another request, where the answer's length says that it ends."""
        if self._answer.length == 0:
            self._answer.read()  # nothing; http.client wants to see the end
        if not self._answer.isclosed() or self._answer.will_close:
            self._wire.close()  # what else it has to say is cut off: the digest tells whether that matters

    def _read_some(self, view: memoryview) -> int:
        answer = self._answer
        with self._pulse.listening():
            if answer.chunked:
                data = answer.read1(len(view))[: len(view)]  # a chunk of negative length makes it return more
                view[: len(data)] = data
                count = len(data)
            else:
                count = answer.fp.readinto1(view)
                if answer.length is not None:
                    answer.length -= count
            self._pulse.beat(count)
        return count

    def _trouble(self, error: Exception) -> Troubled:
        if isinstance(error, EOFError) and not self._pulse.is_stalled:
            return Troubled(str(error))
        return Troubled(self._wire.words(error))
