"""Why the hub refuses or cannot be reached: one line that says what to do, after as many attempts as make sense."""

import socket

import httpx2
import pytest
from huggingface_hub import constants

from localllm.errors import DownloadFailed, ModelError, ModelNotFound
from localllm.models.hub.refusals import Question, unreachable
from localllm.models.hub.repository import read_repository
from tests.models.child import NOBODY
from tests.models.hub import Hub
from tests.models.hub_room.holdings import FILES, REPOSITORY


def message_of(error: type[ModelError] = DownloadFailed) -> str:
    with pytest.raises(error) as caught:
        read_repository(REPOSITORY)
    message: str = caught.value.message
    assert message.isprintable()
    assert "our-secret" not in message
    return message


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (401, "RepoNotFound", ModelNotFound, f"there is no {REPOSITORY}, or it is private: check the name"),
        (404, "RepoNotFound", ModelNotFound, f"there is no {REPOSITORY}, or it is private: check the name"),
        (404, "", ModelNotFound, f"there is no {REPOSITORY}, or it is private: check the name"),
        (404, "RevisionNotFound", ModelNotFound, f"{REPOSITORY} has no revision main"),
        (401, "GatedRepo", DownloadFailed, f"{REPOSITORY} is gated: accept its terms at http://127.0.0.1:"),
        (403, "GatedRepo", DownloadFailed, "then set HF_TOKEN (or: hf auth login)"),
        (401, "", DownloadFailed, "the hub refuses the token it was sent (401); check HF_TOKEN"),
        (403, "", DownloadFailed, "the hub refuses the token it was sent (403); check HF_TOKEN"),
        (400, "", DownloadFailed, "the hub answers 400 Bad Request"),
        (418, "", DownloadFailed, "the hub answers 418 I'm a Teapot"),
        (599, "", DownloadFailed, "the hub answers 599; pull again later"),
    ],
)
def test_a_refusal_says_what_to_do_at_once(
    asking: Hub, status: int, code: str, error: type[ModelError], words: str
) -> None:
    asking.faults.statuses, asking.faults.error_code = [status], code
    assert words in message_of(error)
    assert len(asking.log) == 1


@pytest.mark.parametrize(("status", "words"), [(401, "401 Unauthorized"), (403, "403 Forbidden")])
def test_without_a_token_a_refusal_does_not_speak_of_one_that_was_sent(
    without_token: Hub, status: int, words: str
) -> None:
    without_token.faults.statuses = [status]
    assert f"the hub answers {words}; if it wants a token, set HF_TOKEN" in message_of()


def test_a_wrong_token_is_named(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.tokens.clear()
    assert "the hub refuses the token it was sent (401); check HF_TOKEN" in message_of()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(asking: Hub, status: int) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.statuses = [status, status]
    assert read_repository(REPOSITORY).files
    assert len(asking.log) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (503, "the hub answers 503 Service Unavailable; pull again later"),
        (429, "429 Too Many Requests; pull again later"),
    ],
)
def test_what_does_not_pass_is_given_up(asking: Hub, status: int, words: str) -> None:
    asking.faults.statuses = [status] * 10
    assert words in message_of()
    assert len(asking.log) == 3


def test_a_short_wait_is_granted(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.statuses, asking.faults.retry_after = [429], "0"
    assert read_repository(REPOSITORY).files


def test_a_long_wait_is_not(asking: Hub) -> None:
    asking.faults.statuses, asking.faults.retry_after = [429] * 10, "3600"
    assert "429 Too Many Requests; pull again in 3600 s" in message_of()
    assert len(asking.log) == 1


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "9" * 30, "soon", "１"])
def test_a_wait_that_is_no_number_does_no_harm(asking: Hub, retry_after: str) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.statuses, asking.faults.retry_after = [503], retry_after.encode().decode("latin-1")
    assert read_repository(REPOSITORY).files


def test_nobody_at_the_address(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    assert message_of().startswith(f"cannot reach {NOBODY} (")


def test_a_proxy_that_is_not_there(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session

    close_session()  # a client keeps the proxy that it found when it was made
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    monkeypatch.delenv("NO_PROXY")
    assert "cannot reach" in message_of()
    close_session()


def test_a_server_that_says_nothing(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.models.hub.repository.STEP_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer in time; check the connection" in message_of()


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1", "127.0.0.1:1", "http:///x", "file:///etc"])
def test_an_endpoint_that_is_none(asking: Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    message_of()
    assert asking.log == []


@pytest.mark.parametrize("token", ["tökén", "a\x01b", "a b\x7f"])
def test_a_token_that_no_header_can_carry_is_not_shown(
    asking: Hub, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    message = message_of()
    assert "check HF_TOKEN" in message
    assert token not in message
    assert asking.log == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed\ncertificate"),
            "is not trusted ([SSL: CERT",
        ),
        (httpx2.ProxyError("403 Forbidden"), "the proxy does not let us ask the hub (403 Forbidden)"),
        (httpx2.ConnectTimeout(""), "did not answer in time"),
        (httpx2.TooManyRedirects("Exceeded maximum allowed redirects."), "TooManyRedirects: Exceeded"),
        (httpx2.InvalidURL("Invalid port"), "is no address of a hub (Invalid port); check HF_ENDPOINT"),
        (httpx2.RemoteProtocolError("x" * 1000 + "\x1b"), "the hub cannot be asked"),
    ],
)
def test_a_failure_of_the_connection_in_one_line(error: httpx2.HTTPError | httpx2.InvalidURL, words: str) -> None:
    message = unreachable(error, Question(repository=REPOSITORY, endpoint="https://hub.example")).message
    assert words in message
    assert message.isprintable()
    assert len(message) < 400
