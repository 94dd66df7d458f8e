"""Why the hub did not answer, or refused to, in one line that says what to do next."""

import re
from http import HTTPStatus

import httpx2
from msgspec import Struct

from localllm.errors import DownloadFailed, ModelError, ModelNotFound
from localllm.models.hub.naming import shown

CHECK_SETTINGS = "check the proxy, SSL_CERT_FILE, HF_TOKEN and HF_ENDPOINT in the environment"
_DISABLED = "Access to this resource is disabled."  # huggingface_hub, `hf_raise_for_status`


class Question(Struct, frozen=True, kw_only=True):
    """What the hub is asked about; `path` is empty where that is the repository itself."""

    repository: str
    endpoint: str
    revision: str = ""
    path: str = ""


def refusal(response: httpx2.Response, question: Question) -> ModelError:
    """The error that an answer means (its `X-Error-Code`: huggingface_hub, `hf_raise_for_status`).

    ModelNotFound where there is no such repository or revision, DownloadFailed for everything else.
    """
    repository, status = question.repository, response.status_code
    kind = response.headers.get("X-Error-Code")
    if kind == "GatedRepo":
        page = f"{question.endpoint}/{repository}"
        return DownloadFailed(
            f"{repository} is gated: accept its terms at {page}, then set HF_TOKEN (or: hf auth login)"
        )
    if response.headers.get("X-Error-Message") == _DISABLED:
        return DownloadFailed(f"the hub has disabled {repository}; take another repository")
    if kind == "EntryNotFound" or (kind == "RevisionNotFound" and question.path):
        return DownloadFailed(f"{repository} has no file {question.path} at revision {question.revision}")
    if kind == "RevisionNotFound":
        return ModelNotFound(f"{repository} has no revision {question.revision}; leave it out for the newest")
    if kind == "RepoNotFound" or status == 404:
        return _missing(response, question)
    return DownloadFailed(_status_words(response))


def unreadable(question: Question) -> DownloadFailed:
    """What came is no answer of a hub's: a login page, or a proxy's error page."""
    host = httpx2.URL(question.endpoint).netloc.decode("ascii", "replace")
    return DownloadFailed(f"what answers at {host} is no Hugging Face hub; check the connection and HF_ENDPOINT")


def unreachable(error: httpx2.HTTPError | httpx2.InvalidURL, question: Question) -> DownloadFailed:
    """The hub did not answer."""
    text = one_line(error)
    if isinstance(error, httpx2.TimeoutException):
        words = f"{question.endpoint} did not answer in time; check the connection, and pull again"
    elif isinstance(error, httpx2.ProxyError):
        words = f"the proxy does not let us ask the hub ({text}); check HTTPS_PROXY and NO_PROXY"
    elif "CERTIFICATE" in text:
        words = f"the certificate of {question.endpoint} is not trusted ({text}); check SSL_CERT_FILE"
    elif isinstance(error, httpx2.ConnectError):
        words = f"cannot reach {question.endpoint} ({text}); check the connection and the proxy"
    elif isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        words = f"{question.endpoint} is no address of a hub ({text}); check HF_ENDPOINT"
    else:
        words = f"the hub cannot be asked ({type(error).__name__}: {text}); check the connection, and pull again"
    return DownloadFailed(words)


def one_line(error: BaseException) -> str:
    """An error's own words, printable and short."""
    return shown(" ".join(str(error).split()))


def wait_of(response: httpx2.Response) -> float | None:
    """The seconds that the hub asks to wait (RFC 9110, "Retry-After", as a number), if it does."""
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _missing(response: httpx2.Response, question: Question) -> ModelError:
    """The hub answers alike for what is not there and what this user may not see."""
    words = f"there is no {question.repository}, or it is private: "
    advice = "check the name, and that your token may read it" if _sent_token(response) else _ASK_WITH_TOKEN
    return DownloadFailed(words + advice) if question.path else ModelNotFound(words + advice, param="model")


_ASK_WITH_TOKEN = "set HF_TOKEN to a token that may read it (or: hf auth login)"  # noqa: S105  # words, no password


def _sent_token(response: httpx2.Response) -> bool:
    return "authorization" in response.request.headers


def _status_words(response: httpx2.Response) -> str:
    status = response.status_code
    if status in {401, 403} and _sent_token(response):
        return f"the hub refuses the token it was sent ({status}); check HF_TOKEN, or: hf auth login"
    phrase = HTTPStatus(status).phrase if status in {known.value for known in HTTPStatus} else ""
    wait_seconds = wait_of(response)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        when = f"in {wait_seconds:.0f} s" if wait_seconds is not None else "later"
        return f"the hub answers 429 {phrase}; pull again {when}, or with a token in HF_TOKEN"
    advice = "; if it wants a token, set HF_TOKEN" if status in {401, 403} else "; pull again later"
    return f"the hub answers {status} {phrase}".rstrip() + advice
