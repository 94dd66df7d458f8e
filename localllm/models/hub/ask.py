"""Ask the hub: a few attempts, each bounded in time, and every failure as an error of ours."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx2

from localllm.errors import DownloadFailed
from localllm.models.hub.refusals import CHECK_SETTINGS, Question, one_line, refusal, unreachable, unreadable, wait_of

PAUSES_SECONDS = (0.5, 1.5)  # before the second and the third attempt
MOST_PAUSE_SECONDS = 5.0  # a hub that wants a longer one is not asked again
PASSING = {408, 429, 500, 502, 503, 504}  # huggingface_hub, `http_backoff`
_TRANSIENT = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)  # of a parser that expects a hub

Answer = TypeVar("Answer")


def ask(call: Callable[[], Answer], question: Question) -> Answer:
    """What `call`, a question to the hub, returns; asked again when what went wrong may pass.

    Raises ModelNotFound or DownloadFailed.
    """
    pauses_seconds = iter(PAUSES_SECONDS)
    while True:
        try:
            return _ask_once(call, question)
        except _TryAgain as failure:
            pause_seconds, wanted = next(pauses_seconds, None), failure.wait_seconds or 0.0
            if pause_seconds is None or wanted > MOST_PAUSE_SECONDS:
                raise failure.error from failure.__cause__
            time.sleep(max(pause_seconds, wanted))


class _TryAgain(Exception):  # noqa: N818
    """A failure that may pass; `error` is what to say if it does not."""

    def __init__(self, error: Exception, wait_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_seconds = wait_seconds


def _ask_once(call: Callable[[], Answer], question: Question) -> Answer:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return call()
    except (HfHubHTTPError, httpx2.HTTPStatusError) as error:
        said = refusal(error.response, question)
        if error.response.status_code in PASSING:
            raise _TryAgain(said, wait_of(error.response)) from error
        raise said from error
    except _TRANSIENT as error:
        raise _TryAgain(unreachable(error, question)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise unreachable(error, question) from error
    except OfflineModeIsEnabled as error:
        raise DownloadFailed("offline mode forbids asking the hub; unset HF_HUB_OFFLINE") from error
    except (ImportError, OSError) as error:  # a SOCKS proxy; no such certificate
        raise DownloadFailed(f"cannot ask the hub ({one_line(error)}); {CHECK_SETTINGS}") from error
    except _MALFORMED as error:
        raise unreadable(question) from error
