"""The first bytes of a file on the hub: enough to read its header before it is downloaded."""

import httpx2

from localllm.errors import DownloadFailed
from localllm.models.hub.ask import PASSING, ask
from localllm.models.hub.refusals import Question
from localllm.models.hub.session import STEP_SECONDS, open_hub
from localllm.models.transfer.address import Location, parse_address

MOST_BYTES = 32 * 2**20


def read_beginning(location: Location, size_bytes: int, *, offline: bool = False) -> bytes:
    """The first `size_bytes`, at most 32 MiB, of what is at `location`; fewer only where the file ends before.

    A server that ignores ranges sends them, too; the rest is not read. Raises DownloadFailed.
    """
    if not 0 < size_bytes <= MOST_BYTES:
        raise ValueError(f"1 to {MOST_BYTES} bytes can be read, not {size_bytes}")
    open_hub(offline=offline)
    scheme, host, port = parse_address(location.url).origin
    question = Question(repository="the file", endpoint=f"{scheme}://{host}:{port}")
    headers = location.headers | {"range": f"bytes=0-{size_bytes - 1}", "accept-encoding": "identity"}

    def call() -> bytes:
        from huggingface_hub import get_session

        with get_session().stream("GET", location.url, headers=headers, timeout=STEP_SECONDS) as response:
            return _first(response, size_bytes)

    return ask(call, question)


def _first(response: httpx2.Response, size_bytes: int) -> bytes:
    status = response.status_code
    if status in PASSING:
        response.raise_for_status()
    if status == 416:  # not even one byte
        return b""
    if status not in {200, 206}:
        raise DownloadFailed(f"the hub answers {status} for the beginning of the file; pull again later")
    answered = response.headers.get("Content-Range", "")
    if status == 206 and not answered.startswith("bytes 0-"):
        raise DownloadFailed(
            f"asked for the first {size_bytes} bytes, the hub answers {answered or 'without a range'!r}"
        )
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if len(data) >= size_bytes:
            break
    return bytes(data[:size_bytes])
