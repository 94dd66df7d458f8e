"""The way to the bytes: a location, found anew when it is refused, and the redirects from there."""

import threading
from collections.abc import Callable
from http.client import HTTPResponse

from localllm.errors import DownloadFailed
from localllm.models.transfer.address import Address, Location, follow, headers_for, parse_address
from localllm.models.transfer.answer import LocationRefused
from localllm.models.transfer.wire import Wire

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5


class Source:
    """Knows the current location; shared by all connections."""

    def __init__(self, locate: Callable[[], Location]) -> None:
        self._locate = locate
        self._finding = threading.Lock()
        self._bytes_when_found: int | None = None  # None: the first location still holds
        self.location = locate()

    def find_again(self, refused: Location, why: LocationRefused, done_bytes: int) -> None:
        """Replace a location that was refused. Raises DownloadFailed when a fresh one brought nothing either."""
        with self._finding:
            if self.location is not refused:  # another connection was faster
                return
            if self._bytes_when_found == done_bytes:
                raise DownloadFailed(
                    f"{parse_address(refused.url).host} refuses the file: {why}, also at a fresh address; "
                    "check HF_TOKEN and whether you may read the file"
                ) from why
            self._bytes_when_found = done_bytes
            self.location = self._locate()


class Route:
    """The way that one connection goes; where redirects led is remembered until something fails."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.forget()

    @property
    def host(self) -> str:
        """Who is asked at last."""
        return self._address.host

    def forget(self) -> None:
        """Begin at the location again."""
        self.location = self._source.location
        self._address = self._first = parse_address(self.location.url)
        self._is_first_origin = True

    def ask(self, wire: Wire, asked: range | None) -> HTTPResponse:
        """The answer behind all redirects; None asks for the whole file. Raises as `Wire.get`, and DownloadFailed."""
        extra = {} if asked is None else {"Range": f"bytes={asked.start}-{asked.stop - 1}"}
        for _ in range(_MOST_REDIRECTS + 1):
            headers = headers_for(self.location.headers, self._is_first_origin)
            answer = wire.get(self._address, headers | extra)
            if answer.status not in _REDIRECTS:
                return answer
            to = answer.headers["Location"]
            wire.close()
            self._go_to(follow(self._address, to))
        raise DownloadFailed(f"{self._first.host} redirects more than {_MOST_REDIRECTS} times; try another source")

    def _go_to(self, address: Address) -> None:
        self._address = address
        self._is_first_origin &= address.origin == self._first.origin  # a way back gives no token away either
