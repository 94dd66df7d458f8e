"""What a repository holds, as the hub tells it: files with their digests, commits, gates and cards."""

import pytest

from localllm.errors import DownloadFailed, IntegrityError, InvalidRequest, ModelNotFound
from localllm.models.hub import repository as module
from localllm.models.hub.repository import read_repository
from tests.models.hub import Hub
from tests.models.hub_contents import Json
from tests.models.hub_room.holdings import FILES, REPOSITORY, file_of

EVERYTHING = tuple(file_of(path, FILES[path]) for path in ("README.md", "config.json", "tiny.Q4_0.gguf"))


def test_files_in_lfs_have_a_sha256_and_the_others_that_of_their_git_blob(asking: Hub) -> None:
    commit = asking.commit(REPOSITORY, FILES)
    found = read_repository(REPOSITORY)
    assert found.files == EVERYTHING
    assert (found.repository, found.commit) == (REPOSITORY, commit)
    assert (found.is_gated, found.is_private, found.refused) == (False, False, ())


def test_one_question_is_enough_and_carries_the_token(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    read_repository(REPOSITORY)
    assert [(asked.method, asked.path, asked.query, asked.token) for asked in asking.log] == [
        ("GET", f"/api/models/{REPOSITORY}", "blobs=true", "Bearer our-secret")
    ]


def test_a_branch_moves_and_a_commit_does_not(asking: Hub) -> None:
    first = asking.commit(REPOSITORY, {"tiny.Q4_0.gguf": b"GGUF old"})
    asking.commit(REPOSITORY, {"tiny.Q4_0.gguf": b"GGUF old", "config.json": b"{}"}, branch="refs/pr/1")
    last = asking.commit(REPOSITORY, {"tiny.Q4_0.gguf": b"GGUF new"})
    assert read_repository(REPOSITORY).files == (file_of("tiny.Q4_0.gguf", b"GGUF new"),)
    assert read_repository(REPOSITORY, "main").commit == last
    assert len(read_repository(REPOSITORY, "refs/pr/1").files) == 2
    assert read_repository(REPOSITORY, first).files == (file_of("tiny.Q4_0.gguf", b"GGUF old"),)
    assert read_repository(REPOSITORY, first[:8]).commit == first


def test_another_commit_than_asked_for_is_refused(asking: Hub) -> None:
    commit = asking.commit(REPOSITORY, FILES)
    other = "f" * 40
    asking.repositories[REPOSITORY].branches[other] = commit
    with pytest.raises(
        IntegrityError, match=f"asked for commit {other} of {REPOSITORY}, the hub answers with {commit}"
    ):
        read_repository(REPOSITORY, other)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": ["mit", "apache-2.0"]}, "mit"),
        ({"license": "other", "license_name": "tiny-community"}, "tiny-community"),
        ({"license": "other"}, "other"),
        ({"license": 7}, "unknown"),
        ({"license": "a\x1b[2J"}, "unknown"),
        ({"license": "x" * 101}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_license(asking: Hub, card: dict[str, Json], expected: str) -> None:
    asking.commit(REPOSITORY, FILES, card=card)
    assert read_repository(REPOSITORY).license == expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("some-org/Tiny", "some-org/Tiny"),
        (["some-org/Tiny", "other/Tiny"], "some-org/Tiny"),
        ("../../etc", ""),
        (7, ""),
        (None, ""),
    ],
)
def test_the_base_model(asking: Hub, stated: Json, expected: str) -> None:
    asking.commit(REPOSITORY, FILES, card={"base_model": stated})
    assert read_repository(REPOSITORY).base_model == expected


def test_a_gated_repository_tells_what_it_holds_to_everybody(without_token: Hub) -> None:
    without_token.commit(REPOSITORY, FILES, is_gated=True)
    found = read_repository(REPOSITORY)
    assert found.is_gated
    assert found.files == EVERYTHING
    assert [asked.token for asked in without_token.log] == [None]


def test_a_private_repository_is_there_for_those_who_may_read_it(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES, is_private=True)
    assert read_repository(REPOSITORY).is_private


def test_a_private_repository_is_not_there_for_others(without_token: Hub) -> None:
    without_token.commit(REPOSITORY, FILES, is_private=True)
    with pytest.raises(ModelNotFound, match=f"there is no {REPOSITORY}, or it is private: set HF_TOKEN"):
        read_repository(REPOSITORY)


def test_a_repository_that_is_not_there(asking: Hub) -> None:
    with pytest.raises(ModelNotFound, match="there is no some-org/nothing, or it is private: check the name"):
        read_repository("some-org/nothing")


def test_a_revision_that_is_not_there(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    with pytest.raises(ModelNotFound, match=f"{REPOSITORY} has no revision v2; leave it out"):
        read_repository(REPOSITORY, "v2")


@pytest.mark.parametrize(
    ("repository", "revision", "error"),
    [
        ("../../api/x", None, ModelNotFound),
        ("http://localhost/x", None, ModelNotFound),
        (REPOSITORY, "--help", InvalidRequest),
        (REPOSITORY, "../../../whoami-v2", InvalidRequest),
        (REPOSITORY, "", InvalidRequest),
    ],
)
def test_names_that_can_be_none_are_not_asked_for(
    asking: Hub, repository: str, revision: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        read_repository(repository, revision)
    assert asking.log == []


def test_a_renamed_repository_is_followed_on_the_same_host(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.moved_repositories["some-org/Old"] = REPOSITORY
    found = read_repository("some-org/Old")
    assert (found.repository, found.files) == ("some-org/Old", EVERYTHING)
    assert [asked.token for asked in asking.log] == ["Bearer our-secret", "Bearer our-secret"]


def test_the_token_does_not_follow_to_another_host(asking: Hub) -> None:
    with Hub() as other:
        other.commit(REPOSITORY, FILES)
        asking.faults.moved_to = other.url
        assert read_repository(REPOSITORY).files == EVERYTHING
        assert [asked.token for asked in asking.log] == ["Bearer our-secret"]
        assert [asked.token for asked in other.log] == [None]


def test_offline_nothing_is_asked(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    with pytest.raises(DownloadFailed, match="offline mode forbids asking the hub"):
        read_repository(REPOSITORY, offline=True)
    assert asking.log == []


@pytest.mark.slow
def test_a_repository_of_very_many_files_is_read(asking: Hub) -> None:
    count = module.MOST_FILES
    asking.commit(REPOSITORY, {f"{number}.json": b"" for number in range(count)})
    assert len(read_repository(REPOSITORY).files) == count
