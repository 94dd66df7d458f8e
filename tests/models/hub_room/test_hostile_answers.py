"""Answers about a repository that lie, that cannot be read, or that never end."""

import json

import pytest

from localllm.errors import DownloadFailed
from localllm.models.hub import session
from localllm.models.hub.repository import HubRepository, read_repository
from tests.models.hub import Hub
from tests.models.hub_contents import Json
from tests.models.hub_room.holdings import FILES, REPOSITORY, file_of

GOOD = "tiny.Q4_0.gguf"
HEX40, HEX64 = "a" * 40, "b" * 64
SIZES: tuple[Json, ...] = (None, -1, 1.5, "5", True, [], 2**51, 10**400)


def told(hub: Hub, *siblings: Json) -> HubRepository:
    """What is made of these, which stand beside one good file."""
    commit = hub.commit(REPOSITORY, {GOOD: FILES[GOOD]})
    answer = hub.repositories[REPOSITORY].describe(commit)
    listed = answer["siblings"]
    assert isinstance(listed, list)
    listed.extend(siblings)
    hub.faults.info = json.dumps(answer).encode()
    return read_repository(REPOSITORY)


def sibling(name: Json, **more: Json) -> Json:
    return {"rfilename": name, "size": 5, "blobId": HEX40} | more


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.gguf", "a/../../evil.gguf", "/etc/evil.gguf", "C:\\evil.gguf", "C:evil.gguf"),
        *("\\\\server\\share\\evil.gguf", "//server/share/evil.gguf", "a\\evil.gguf", "evil.gguf:stream"),
        *("CON.gguf", "nul", "a/AUX.json", "COM1.gguf", "evil.gguf.", "evil.gguf ", "a./evil.gguf"),
        *("evil\u202efugg.gguf", "evil\x1b[2J.gguf", "evil\x00.gguf", "evil\n.gguf", "\ud800.gguf", "-rf.gguf"),
        *("x" * 256 + ".gguf", "x" * 5000, "a/" * 300 + "x", "", ".", "..", "a//b", "e\u0301.gguf", "é.gguf"),
        *(None, 7, ["a"], {"a": "b"}, True),
    ],
)
def test_names_that_cannot_be_written_are_refused_one_by_one(asking: Hub, name: Json) -> None:
    found = told(asking, sibling(name))
    assert found.files == (file_of(GOOD, FILES[GOOD]),)
    assert len(found.refused) == 1
    assert found.refused[0].isprintable()
    assert len(found.refused[0]) <= 1000


@pytest.mark.parametrize(
    "more",
    [
        *({"size": size} for size in SIZES),
        *({"blobId": blob} for blob in (None, "", "a" * 39, "A" * 40, "a" * 40 + "\n", 7)),
        *({"lfs": {"size": size, "sha256": HEX64, "pointerSize": 1}} for size in (*SIZES, 6)),
        *(
            {"lfs": {"size": 5, "sha256": digest, "pointerSize": 1}}
            for digest in (None, "", HEX40, "B" * 64, HEX64 + "\n")
        ),
    ],
)
def test_files_without_a_size_and_a_digest_are_refused(asking: Hub, more: dict[str, Json]) -> None:
    found = told(asking, sibling("x.json", **more))
    assert found.files == (file_of(GOOD, FILES[GOOD]),)
    assert found.refused == ("x.json",)


def test_a_file_that_is_told_twice_alike_is_one(asking: Hub) -> None:
    assert [file.path for file in told(asking, sibling("x.json"), sibling("x.json")).files] == [GOOD, "x.json"]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (sibling("x.json"), sibling("x.json", size=6), ("x.json", "x.json")),
        (sibling("x.json"), sibling("X.json"), ("X.json", "x.json")),
        (sibling("a/x.json"), sibling("A/X.json"), ("A/X.json", "a/x.json")),
        (sibling("a"), sibling("A/x.json"), ("a",)),
    ],
)
def test_files_that_would_overwrite_each_other_are_refused(
    asking: Hub, first: Json, second: Json, refused: tuple[str, ...]
) -> None:
    found = told(asking, first, second)
    assert found.refused == refused
    assert found.find(GOOD) is not None
    assert {file.path for file in found.files} & set(refused) == set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>Please log in</html>",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe",
        b'{"id": "a/b"}',
        b'{"id": "a/b", "sha": "main", "siblings": []}',
        b'{"id": "a/b", "sha": 7, "siblings": []}',
        b'{"id": "a/b", "sha": "' + HEX40.upper().encode() + b'", "siblings": []}',
        b'{"id": "a/b", "sha": "' + HEX40.encode() + b'"}',
        b'{"id": "a/b", "sha": "' + HEX40.encode() + b'", "siblings": 7}',
        b'{"id": "a/b", "sha": "' + HEX40.encode() + b'", "siblings": [7]}',
        b'{"id": "a/b", "sha": "' + HEX40.encode() + b'", "siblings": [{}]}',
        b'{"id": "a/b", "sha": "' + HEX40.encode() + b'", "siblings": [{"rfilename": "x", "lfs": {"a": 1}}]}',
        b'{"id": "a/b", "createdAt": "yesterday", "sha": "' + HEX40.encode() + b'", "siblings": []}',
        b'{"id": ' + b"[" * 100_000,
        b'{"id": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_answer_of_a_hub_says_so(asking: Hub, answer: bytes) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.info = answer
    with pytest.raises(DownloadFailed, match="is no Hugging Face hub; check the connection"):
        read_repository(REPOSITORY)


@pytest.mark.parametrize(
    "more",
    [{"gated": {"a": 1}}, {"tags": 7}, {"cardData": [1]}, {"cardData": "x"}, {"tags": [7, "license:mit"]}, {"x": 1}],
)
def test_oddities_beside_the_files_do_no_harm(asking: Hub, more: dict[str, Json]) -> None:
    commit = asking.commit(REPOSITORY, FILES)
    asking.faults.info = json.dumps(asking.repositories[REPOSITORY].describe(commit) | more).encode()
    assert read_repository(REPOSITORY).find(GOOD) is not None


def test_a_login_page_is_no_hub(asking: Hub) -> None:
    asking.faults.is_login_page = True
    with pytest.raises(DownloadFailed, match="is no Hugging Face hub; check the connection"):
        read_repository(REPOSITORY)


@pytest.mark.slow
def test_a_list_of_a_hundred_thousand_files_is_refused(asking: Hub) -> None:
    with pytest.raises(DownloadFailed, match=f"{REPOSITORY} has 100001 files, of which at most"):
        told(asking, *(sibling(f"{number}.json") for number in range(100_000)))


def test_an_answer_without_end_is_left(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_ANSWER_BYTES", 100_000)
    asking.commit(REPOSITORY, FILES)
    asking.faults.info = b" " * 100_001
    with pytest.raises(DownloadFailed, match="answers with more than 100000 bytes"):
        read_repository(REPOSITORY)
    assert len(asking.log) == 1


def test_an_answer_that_takes_too_long_is_left(asking: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ANSWER_SECONDS", -1.0)
    asking.commit(REPOSITORY, FILES)
    with pytest.raises(DownloadFailed, match="did not answer in time"):
        read_repository(REPOSITORY)
    assert len(asking.log) == 3


def test_a_compressed_answer_is_not_unpacked(asking: Hub) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.encoding = "gzip"
    with pytest.raises(DownloadFailed, match="compressed, which was not asked for"):
        read_repository(REPOSITORY)


def test_what_the_hub_warns_of_is_not_printed(asking: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    asking.commit(REPOSITORY, FILES)
    asking.faults.warning = "x; pay now"
    read_repository(REPOSITORY)
    assert capfd.readouterr() == ("", "")
