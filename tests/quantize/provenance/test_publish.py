"""Files that were made here become versions of a model, whatever was there before."""

import hashlib
from pathlib import Path

import pytest

from localllm.errors import ModelError
from localllm.models.manifest import MadeSource, Manifest
from localllm.models.names import ModelName
from localllm.models.storage.garbage import find_garbage
from localllm.models.storage.store import Store
from localllm.quantize.provenance.publish import MadeModel, publish
from localllm.types import ModelDefaults
from tests.cli.blobs import damage, has


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def made(folder: Path, contents: dict[str, bytes], name: str = "tiny:q8_0") -> MadeModel:
    folder.mkdir(exist_ok=True)
    paths = {filename: folder / filename for filename in contents}
    for filename, path in paths.items():
        path.write_bytes(contents[filename])
    return MadeModel(
        name=ModelName(name),
        format="gguf",
        quant="Q8_0",
        license="mit",
        of="~/tiny",
        defaults=ModelDefaults(),
        files=paths,
    )


def published(store: Store, folder: Path, contents: dict[str, bytes]) -> Manifest:
    return publish(made(folder, contents), store, lambda _: None)


def test_a_version_with_all_its_files(store: Store, tmp_path: Path) -> None:
    contents = {"tiny.gguf": b"weights", "tiny.imatrix": b"matrix", "README.md": b"card"}
    manifest = published(store, tmp_path / "bench", contents)
    assert (manifest.name, manifest.quant, manifest.license, manifest.follows) == ("tiny:q8_0", "Q8_0", "mit", "")
    assert manifest.source == "made here from ~/tiny"
    assert [file.filename for file in manifest.files] == list(contents)
    assert [file.sha256 for file in manifest.files] == [hashlib.sha256(data).hexdigest() for data in contents.values()]
    assert {file.origin for file in manifest.files} == {MadeSource(of="~/tiny")}
    assert [file.filename for file in manifest.weights] == ["tiny.gguf"]
    assert all(has(store, data) for data in contents.values())
    assert list((tmp_path / "bench").iterdir()) == []
    assert store.current("tiny:q8_0") == manifest
    assert find_garbage(store, old_versions=True) == []


def test_another_version_of_the_same_name(store: Store, tmp_path: Path) -> None:
    first = published(store, tmp_path / "bench", {"tiny.gguf": b"one", "README.md": b"card"})
    second = published(store, tmp_path / "bench", {"tiny.gguf": b"two", "README.md": b"card"})
    assert store.require("tiny:q8_0").trail == (first.version, second.version)
    assert store.rollback("tiny:q8_0") == first
    again = published(store, tmp_path / "bench", {"tiny.gguf": b"two", "README.md": b"card"})
    assert again == second
    assert store.current("tiny:q8_0") == second


def test_what_is_damaged_is_replaced(store: Store, tmp_path: Path) -> None:
    contents = {"tiny.gguf": b"weights", "README.md": b"card"}
    published(store, tmp_path / "bench", contents)
    damage(store, b"weights")
    assert not has(store, b"weights")
    published(store, tmp_path / "bench", contents)
    assert has(store, b"weights")


def test_nothing_is_published_of_what_is_not_whole(store: Store, tmp_path: Path) -> None:
    model = made(tmp_path / "bench", {"tiny.gguf": b"weights", "README.md": b"card"})
    (tmp_path / "bench" / "README.md").unlink()
    with pytest.raises(ModelError, match="cannot write to"):
        publish(model, store, lambda _: None)
    assert store.current("tiny:q8_0") is None
    assert list(store.blobs.digests()) == []
