"""Where the bytes of a file are: checked against what is known of it, and the token kept at home."""

import pytest
from huggingface_hub import constants

from localllm.errors import DownloadFailed, IntegrityError, InvalidRequest, LocalLLMError, ModelNotFound
from localllm.models.card import HubSource
from localllm.models.hub.address import locate
from tests.models.cards import KEY
from tests.models.hub import Hub
from tests.models.hub_contents import sha256
from tests.models.hub_room.holdings import FILES, REPOSITORY, expected_of, source_of

GGUF = "tiny.Q4_0.gguf"


@pytest.fixture
def commit(asking: Hub) -> str:
    """A commit of the repository, which the hub has."""
    return asking.commit(REPOSITORY, FILES)


def names(headers: dict[str, str]) -> set[str]:
    return {name.lower() for name in headers}


def test_bytes_in_lfs_are_elsewhere_and_asked_for_without_the_token(asking: Hub, commit: str) -> None:
    found = locate(source_of(commit), expected_of())
    assert found.url == f"http://localhost:{asking.port}/cdn/{sha256(FILES[GGUF])}?signature=abc"
    assert "authorization" not in names(found.headers)
    assert [(asked.method, asked.token) for asked in asking.log] == [("HEAD", "Bearer our-secret")]


def test_other_bytes_are_on_the_hub_and_asked_for_with_it(asking: Hub, commit: str) -> None:
    found = locate(source_of(commit, "config.json"), expected_of("config.json"))
    assert found.url == f"{asking.url}/{REPOSITORY}/resolve/{commit}/config.json"
    assert found.headers["authorization"] == "Bearer our-secret"


def test_a_file_of_an_older_commit_is_still_found(asking: Hub, commit: str) -> None:
    asking.commit(REPOSITORY, {GGUF: b"GGUF new"})
    assert locate(source_of(commit), expected_of()).url.endswith(f"/cdn/{sha256(FILES[GGUF])}?signature=abc")


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/cdn/x",
        "http://LOCALHOST:{port}/cdn/x",
        "//localhost:{port}/cdn/x",
        "http://127.0.0.1:1/cdn/x",
        "http://127.0.0.1/cdn/x",
        "http://127.0.0.2:{port}/cdn/x",
        "https://127.0.0.1:{port}/cdn/x",
        "http://127.0.0.1.evil.example:{port}/x",
        "http://127.1:{port}/x",
        "http://[::1]:{port}/x",
    ],
)
def test_the_token_goes_to_no_second_host(asking: Hub, commit: str, location: str) -> None:
    asking.faults.location = location.format(port=asking.port)
    found = locate(source_of(commit), expected_of())
    assert "authorization" not in names(found.headers)
    assert {asked.host for asked in asking.log} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "http://127.0.0.1:99999/x",
        "http://[/x",
        "http://u:p@127.0.0.9/x",
    ],
)
def test_the_hub_leads_to_no_strange_address(asking: Hub, commit: str, location: str) -> None:
    asking.faults.location = location
    with pytest.raises(DownloadFailed) as caught:
        locate(source_of(commit), expected_of())
    assert caught.value.message.isprintable()


def test_the_token_does_not_go_along_to_a_hub_that_the_user_did_not_name(asking: Hub, commit: str) -> None:
    with Hub() as other:
        other.repositories = asking.repositories
        other.faults.is_login_page = True
        asking.faults.moved_to = other.url
        with pytest.raises(DownloadFailed):
            locate(source_of(commit), expected_of())
        assert [asked.token for asked in asking.log] == ["Bearer our-secret"]
        assert [asked.token for asked in other.log] == []


def test_not_even_to_the_public_hub_from_a_mirror() -> None:
    """huggingface_hub itself takes the token along to huggingface.co."""
    import httpx2

    from localllm.models.hub.session import _check_request

    request = httpx2.Request("HEAD", "https://huggingface.co/x", headers={"authorization": "Bearer our-secret"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", "https://mirror.example")
        _check_request(request)
        assert "authorization" not in request.headers
        with pytest.raises(DownloadFailed, match="not encrypted"):
            _check_request(httpx2.Request("GET", "http://mirror.example/x"))


@pytest.mark.parametrize(
    ("fault", "value", "words"),
    [
        ("size", 5, f"the hub's {GGUF} has 5 bytes, {len(FILES[GGUF])} were expected"),
        ("sha256", "a" * 64, f"the hub's {GGUF} has SHA-256 {'a' * 64}"),
        ("commit", "b" * 40, f"the hub answers with commit {'b' * 40}"),
        ("commit", "main", "the hub answers with commit main"),
    ],
)
def test_another_file_than_the_expected_one_is_refused(
    asking: Hub, commit: str, fault: str, value: int | str, words: str
) -> None:
    setattr(asking.faults, fault, value)
    with pytest.raises(IntegrityError, match=words):
        locate(source_of(commit), expected_of())


def test_the_git_digest_of_a_small_file_counts_too(asking: Hub, commit: str) -> None:
    with pytest.raises(IntegrityError, match="git SHA-1"):
        locate(source_of(commit, "README.md"), expected_of("README.md").__class__(size_bytes=7, git_sha1="c" * 40))


def test_a_pinned_file_of_a_hub_without_digests_is_found(asking: Hub, data: bytes) -> None:
    """What a card knows is enough: the bytes are hashed anyway."""
    asking.files[KEY] = data
    asking.faults.is_in_lfs = False
    expected = expected_of().__class__(size_bytes=len(data), sha256=expected_of().sha256)
    assert locate(source_of("0" * 39 + "1"), expected).url.endswith(GGUF)


def test_a_gated_file_names_the_page_to_accept_its_terms_at(asking: Hub) -> None:
    commit = asking.commit(REPOSITORY, FILES, is_gated=True)
    page = f"{asking.url}/{REPOSITORY}"
    with pytest.raises(DownloadFailed) as caught:
        locate(source_of(commit), expected_of())
    assert caught.value.message == (
        f"{REPOSITORY} is gated: accept its terms at {page}, then set HF_TOKEN (or: hf auth login)"
    )
    asking.accepted.add(REPOSITORY)
    assert locate(source_of(commit), expected_of())


def test_a_gated_file_without_a_token(without_token: Hub) -> None:
    commit = without_token.commit(REPOSITORY, FILES, is_gated=True)
    with pytest.raises(DownloadFailed, match="is gated: accept its terms at"):
        locate(source_of(commit), expected_of())


def test_a_private_file_without_a_token(without_token: Hub) -> None:
    commit = without_token.commit(REPOSITORY, FILES, is_private=True)
    with pytest.raises(DownloadFailed, match=f"there is no {REPOSITORY}, or it is private: set HF_TOKEN"):
        locate(source_of(commit), expected_of())


@pytest.mark.parametrize(("revision", "path"), [(None, "gone.gguf"), ("0" * 40, GGUF)])
def test_a_file_that_is_not_there(asking: Hub, commit: str, revision: str | None, path: str) -> None:
    with pytest.raises(DownloadFailed, match=f"{REPOSITORY} has no file {path} at revision"):
        locate(source_of(revision or commit, path), expected_of())


@pytest.mark.parametrize("statuses", [[503], [429, 500], [502, 504]])
def test_a_failure_that_passes_is_waited_for(asking: Hub, commit: str, statuses: list[int]) -> None:
    asking.faults.statuses = list(statuses)
    locate(source_of(commit), expected_of())
    assert len(asking.log) == len(statuses) + 1


def test_a_login_page_is_no_hub(asking: Hub, commit: str) -> None:
    asking.faults.is_login_page = True
    with pytest.raises(DownloadFailed, match="is no Hugging Face hub; check the connection"):
        locate(source_of(commit), expected_of())


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (HubSource("nobody", "0" * 40, GGUF), ModelNotFound),
        (HubSource(REPOSITORY, "main", GGUF), InvalidRequest),
        (HubSource(REPOSITORY, "0" * 40, "../" * 8 + "api/whoami-v2"), InvalidRequest),
    ],
)
def test_sources_that_can_be_none_are_not_asked(asking: Hub, source: HubSource, error: type[LocalLLMError]) -> None:
    with pytest.raises(error):
        locate(source, expected_of())
    assert asking.log == []


def test_offline_nothing_is_asked(asking: Hub, commit: str) -> None:
    with pytest.raises(DownloadFailed, match="offline mode forbids asking the hub"):
        locate(source_of(commit), expected_of(), offline=True)
    assert asking.log == []
