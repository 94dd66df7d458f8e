"""A stored model once more: where it came from, and whether there is a newer one."""

from collections.abc import Callable

import msgspec
import pytest

from localllm.errors import InvalidRequest, LoadFailed, ModelNotFound
from localllm.models.again import as_it_is_now, as_it_was
from localllm.models.card import HubSource, ModelCard
from localllm.models.catalog import Catalog
from localllm.models.choose import Hub
from localllm.models.hub.repository import HubRepository
from localllm.models.manifest import FileSource, Manifest, StoredFile, version_of
from localllm.models.wanted import WantedFile
from tests.models.cards import FILENAME, REPOSITORY, REVISION, make_card
from tests.models.hub_room.holdings import GGUF, repository_of
from tests.models.repositories import NO_CARDS

DATA = b"GGUF of a card"


def hub_of(repository: HubRepository) -> Hub:
    def read_file(file: WantedFile) -> bytes:
        raise AssertionError(f"{file.filename} was read")

    return Hub(read_repository=lambda _name, _revision: repository, read_file=read_file)


NOBODY = hub_of(repository_of())


def stored(paths: list[str], *, name: str = f"{REPOSITORY}:Q4_0", follows: str = "main", **more: object) -> Manifest:
    """A manifest of files that came from the hub, as they are in `repository_of`."""
    files = tuple(
        StoredFile(
            filename=file.path.rpartition("/")[2],
            size_bytes=file.size_bytes,
            sha256=file.sha256 or "c" * 64,
            git_sha1=file.git_sha1 or "",
            origin=HubSource(repository=REPOSITORY, revision=REVISION, filename=file.path),
        )
        for file in repository_of(*paths).files
    )
    return Manifest(
        name=name,
        version=version_of(files),
        created=1,
        format="gguf",
        quant="Q4_0",
        license="mit",
        source="a test",
        follows=follows,
        files=files,
        **more,  # type: ignore[arg-type]
    )


def of_card(card: ModelCard, name: str | None = None) -> Manifest:
    """A manifest of a card's pinned file."""
    artifact = card.artifact
    assert artifact is not None
    file = StoredFile(
        filename=artifact.filename,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        origin=artifact.sources[0],
    )
    return msgspec.structs.replace(stored([FILENAME], name=name or card.name, follows=""), files=(file,))


def changed(repository: HubRepository, change: Callable[[str], str]) -> HubRepository:
    """Other digests."""
    files = tuple(
        msgspec.structs.replace(file, sha256=change(file.sha256) if file.sha256 else None) for file in repository.files
    )
    return msgspec.structs.replace(repository, files=files, commit="1" * 40)


def test_as_it_was_keeps_what_the_manifest_says() -> None:
    manifest = stored([FILENAME, "README.md"])
    wanted = as_it_was(manifest, NO_CARDS)
    assert wanted.is_pinned
    assert (wanted.name, wanted.follows, wanted.license) == (manifest.name, "main", "mit")
    assert [(file.filename, file.expected.sha256, file.expected.git_sha1 or "") for file in wanted.files] == [
        (file.filename, file.sha256, file.git_sha1) for file in manifest.files
    ]


def test_the_card_knows_more_places() -> None:
    card = make_card(DATA)
    manifest = of_card(card)
    assert len(as_it_was(manifest, Catalog([card])).files[0].sources) == 2
    assert len(as_it_was(manifest, NO_CARDS).files[0].sources) == 1
    other = make_card(DATA + b" in another version")
    assert len(as_it_was(manifest, Catalog([other])).files[0].sources) == 1


@pytest.mark.parametrize("path", ["", "/here/tiny.gguf"])
def test_what_came_from_this_machine_cannot_be_fetched(path: str) -> None:
    manifest = stored([FILENAME], name="mine:1m", follows="")
    own = msgspec.structs.replace(manifest.files[0], origin=FileSource(path="/here/tiny.gguf"), path=path)
    manifest = msgspec.structs.replace(manifest, files=(own,))
    with pytest.raises(LoadFailed, match=r"localllm import --name mine:1m /here/tiny\.gguf"):
        as_it_was(manifest, NO_CARDS)
    with pytest.raises(InvalidRequest, match="mine:1m follows nothing: it is a test"):
        as_it_is_now(manifest, NO_CARDS, NOBODY)


def test_nothing_newer() -> None:
    manifest = stored([FILENAME])
    assert as_it_is_now(manifest, NO_CARDS, hub_of(repository_of(FILENAME, "README.md"))) is None


def test_something_newer() -> None:
    repository = changed(repository_of(FILENAME, "model.sig"), lambda _: "d" * 64)
    wanted = as_it_is_now(stored([FILENAME]), NO_CARDS, hub_of(msgspec.structs.replace(repository, license="bsd")))
    assert wanted is not None
    assert [file.expected.sha256 for file in wanted.files] == ["d" * 64]
    assert wanted.files[0].sources == (HubSource(repository=REPOSITORY, revision="1" * 40, filename=FILENAME),)
    assert (wanted.name, wanted.follows, wanted.license) == (f"{REPOSITORY}:Q4_0", "main", "bsd")
    assert wanted.signature is not None
    assert not wanted.is_pinned


@pytest.mark.parametrize("license_", ["unknown", "mit"])
def test_a_license_that_is_not_said_any_more_stays(license_: str) -> None:
    repository = msgspec.structs.replace(changed(repository_of(FILENAME), lambda _: "d" * 64), license=license_)
    wanted = as_it_is_now(stored([FILENAME]), NO_CARDS, hub_of(repository))
    assert wanted is not None
    assert wanted.license == "mit"


@pytest.mark.parametrize("paths", [["tiny.Q4_0-renamed.gguf"], [FILENAME]])
def test_the_same_bytes_under_another_name_are_another_version(paths: list[str]) -> None:
    found = as_it_is_now(stored([FILENAME]), NO_CARDS, hub_of(repository_of(*paths)))
    assert (found is None) == (paths == [FILENAME])


def test_a_file_that_is_gone() -> None:
    with pytest.raises(ModelNotFound, match=f"has no file {FILENAME}"):
        as_it_is_now(stored([FILENAME]), NO_CARDS, hub_of(repository_of("tiny-Q8_0.gguf")))


def test_a_model_that_follows_nothing() -> None:
    with pytest.raises(InvalidRequest, match="follows nothing: it is a test"):
        as_it_is_now(stored([FILENAME], follows=""), NO_CARDS, NOBODY)


class TestCards:
    """A pinned file changes with localllm itself."""

    @pytest.mark.parametrize("name", ["tiny:1m", "tiny:1m-q4_0"])
    def test_the_card_pins_another_file_now(self, name: str) -> None:
        manifest = of_card(make_card(DATA), name)
        assert as_it_is_now(manifest, Catalog([make_card(DATA)]), NOBODY) is None
        newer = make_card(GGUF)
        wanted = as_it_is_now(manifest, Catalog([newer]), NOBODY)
        assert wanted is not None
        assert newer.artifact is not None
        assert (wanted.name, wanted.files[0].expected.sha256) == (name, newer.artifact.digest)

    def test_a_quant_that_the_card_pins_no_more_follows_nothing(self) -> None:
        manifest = of_card(make_card(DATA), "tiny:1m-q8_0")
        with pytest.raises(InvalidRequest, match="follows nothing"):
            as_it_is_now(manifest, Catalog([make_card(DATA)]), NOBODY)

    def test_license_and_defaults_are_those_of_the_card(self) -> None:
        manifest = stored([FILENAME], name="tiny:1m-q8_0")
        repository = changed(repository_of(FILENAME), lambda _: "d" * 64)
        card = make_card(DATA)
        wanted = as_it_is_now(manifest, Catalog([card]), hub_of(repository))
        assert wanted is not None
        assert (wanted.license, wanted.defaults) == (card.license, card.localllm.defaults)
