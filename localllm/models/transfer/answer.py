"""Whether an answer is what was asked for: the status, the range, the length, and nothing packed."""

import re
import time
from http.client import HTTPResponse

from localllm.errors import DownloadFailed, IntegrityError
from localllm.models.transfer.retry import Troubled, is_retried, read_retry_after

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})")
_LENGTH = re.compile(r"[0-9]{1,19}")


class RangeIgnored(Exception):  # noqa: N818  another way is tried then
    """The server sends the whole file whatever range is asked for."""


class LocationRefused(Exception):  # noqa: N818  a fresh location is tried then
    """The server refuses the address or the token: signed addresses expire."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answers {status}")


def check_range(answer: HTTPResponse, asked: range, size_bytes: int, host: str) -> None:
    """Accept exactly the bytes `asked`, of a file of that size.

    Raises RangeIgnored, LocationRefused, Troubled, DownloadFailed, or IntegrityError for a file of another size.
    """
    if answer.status in {200, 416}:
        _check_ignored(answer, size_bytes, host)
        raise RangeIgnored
    _check_status(answer, 206, host)
    _check_unpacked(answer, host)
    match = _CONTENT_RANGE.fullmatch((answer.headers["Content-Range"] or "").strip())
    if match is None:
        raise Troubled("its answer does not say which range it is")
    first, last, total = match.groups()
    if total != "*" and int(total) != size_bytes:
        raise _other_size(host, int(total), size_bytes)
    if (int(first), int(last)) != (asked.start, asked.stop - 1):
        raise Troubled(f"it was asked for bytes {asked.start}-{asked.stop - 1} and sends {first}-{last}")
    if _length(answer) not in {None, len(asked)}:
        raise Troubled(f"its answer of {len(asked)} bytes claims a length of {_length(answer)}")


def check_whole(answer: HTTPResponse, size_bytes: int, host: str) -> None:
    """Accept the whole file. Raises as `check_range` does, but RangeIgnored."""
    _check_status(answer, 200, host)
    _check_unpacked(answer, host)
    length = _length(answer)
    if length is not None and length != size_bytes:
        _refuse_page(answer, host)
        raise _other_size(host, length, size_bytes)


def _check_ignored(answer: HTTPResponse, size_bytes: int, host: str) -> None:
    """Before what has arrived is given up: only the file itself, sent whole, is a reason for that."""
    if answer.status == 200:
        check_whole(answer, size_bytes, host)
        if _length(answer) is None:
            _refuse_page(answer, host)
        return
    match = _UNSATISFIED.fullmatch((answer.headers["Content-Range"] or "").strip())
    if match is not None and int(match[1]) != size_bytes:
        raise _other_size(host, int(match[1]), size_bytes)


def _check_status(answer: HTTPResponse, wanted: int, host: str) -> None:
    status, words = answer.status, f"{answer.status} {answer.reason}".strip()[:80]
    if status == wanted:
        return
    if status in {401, 403}:
        raise LocationRefused(status)
    if is_retried(status):
        raise Troubled(f"it answers {words}", read_retry_after(answer.headers["Retry-After"], time.time()))
    raise DownloadFailed(f"{host} cannot deliver the file: it answers {words}; check the name and the connection")


def _check_unpacked(answer: HTTPResponse, host: str) -> None:
    encoding = (answer.headers["Content-Encoding"] or "identity").strip().lower()
    if encoding != "identity":
        raise DownloadFailed(
            f"{host} sends the file packed as {encoding[:40]!r}, though asked not to; try another source"
        )
    transfer = (answer.headers["Transfer-Encoding"] or "chunked").strip().lower()
    if transfer != "chunked":
        raise DownloadFailed(f"{host} sends the file as {transfer[:40]!r}, which is not read; try another source")


def _length(answer: HTTPResponse) -> int | None:
    """The body's length by its header. Raises Troubled for one that contradicts itself or is no number."""
    found = {text.strip() for text in answer.headers.get_all("Content-Length", [])}
    if not found:
        return None
    text = found.pop()
    if found or answer.chunked or not _LENGTH.fullmatch(text):
        raise Troubled("its answer contradicts itself about its length")
    return int(text)


def _refuse_page(answer: HTTPResponse, host: str) -> None:
    if answer.headers.get_content_type() == "text/html" and answer.headers["Content-Type"]:
        raise DownloadFailed(f"{host} answers with a web page, not with the file; a login may be needed: open it once")


def _other_size(host: str, found_bytes: int, size_bytes: int) -> IntegrityError:
    return IntegrityError(
        f"the file at {host} has {found_bytes} bytes, expected are {size_bytes}: it is not the same; try another source"
    )
