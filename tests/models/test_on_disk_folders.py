"""Models that are folders: those of MLC and of OpenVINO, and those of MLC in the store."""

from pathlib import Path

import pytest

from localllm.errors import IntegrityError, LoadFailed
from localllm.models.local import LocalModel
from localllm.models.on_disk import from_manifest, from_path
from localllm.models.storage.store import Store
from localllm.types import ModelDefaults
from tests.models.cards import stored_files

CONFIG = "mlc-chat-config.json"
FILES = {CONFIG: b"{}", "params_shard_0.bin": b"weights", "tensor-cache.json": b"{}", "tokenizer.json": b"{}"}


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize(
    ("names", "engine"),
    [
        ((CONFIG, "params_shard_0.bin"), "mlc"),
        (("openvino_model.xml", "openvino_model.bin", "config.json"), "openvino"),
        ((CONFIG, "config.json", "model.safetensors"), "mlc"),
    ],
)
def test_a_folder_is_recognised_by_what_it_holds(tmp_path: Path, names: tuple[str, ...], engine: str) -> None:
    folder = write(tmp_path / "my-model", *names)
    (folder / "more").mkdir()
    found = from_path(str(folder))
    assert (found.id, found.engine, found.format) == ("my-model", engine, engine)
    assert (found.path, found.beside, found.parts, found.sha256) == (str(folder), {}, (), "")
    assert found.size_bytes == sum(len(name) for name in names)


def test_its_config_names_it_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "my-model", CONFIG)
    assert from_path(str(folder / CONFIG)) == from_path(str(folder))


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path / "my-model", CONFIG))
    assert from_path(".").id == "my-model"


def test_another_file_is_another_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "my-model", CONFIG, "params_shard_0.bin")
    before = from_path(str(folder)).identity
    (folder / "params_shard_0.bin").write_bytes(b"other weights")
    assert from_path(str(folder)).identity != before


@pytest.mark.parametrize("names", [(), ("openvino_model.bin",), ("config.json", "model.safetensors")])
def test_other_folders_are_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(LoadFailed):
        from_path(str(write(tmp_path / "folder", *names)))


def test_a_model_of_mlc_in_the_store(store: Store) -> None:
    """The config is named, the others lie beside it, and the whole of them tells it from others."""
    found = from_manifest(stored_files(store, "tiny:mlc", FILES, format="mlc"), store)
    assert (found.engine, found.format, found.parts, found.sha256) == ("mlc", "mlc", (), "")
    assert Path(found.path).read_bytes() == FILES[CONFIG]
    assert {name: Path(path).read_bytes() for name, path in found.beside.items()} == {
        name: data for name, data in FILES.items() if name != CONFIG
    }
    other = stored_files(store, "other:mlc", FILES | {"params_shard_0.bin": b"others"}, format="mlc")
    assert from_manifest(other, store).identity != found.identity


def test_without_its_config_it_is_none(store: Store) -> None:
    with pytest.raises(IntegrityError, match=f"no file of 'tiny:mlc' is an {CONFIG}"):
        stored_files(store, "tiny:mlc", {"params_shard_0.bin": b""}, format="mlc")


@pytest.mark.parametrize(
    ("engine", "format_"),
    [("llama_cpp", "gguf"), ("executorch", "pte"), ("mlc", "mlc"), ("openvino", "openvino"), ("echo", "echo")],
)
def test_the_format_follows_from_the_usual_engine(engine: str, format_: str) -> None:
    model = LocalModel(id="x", engine=engine, path="", created=0, size_bytes=0, defaults=ModelDefaults())
    assert model.format == format_
