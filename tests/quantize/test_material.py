"""What a model is made from: its files, their digests, and what they say of themselves."""

import hashlib
from pathlib import Path

import pytest
from msgspec import structs

from localllm.errors import InvalidRequest, LoadFailed, ModelNotFound
from localllm.models.candidate import candidate_of
from localllm.models.import_file import copy, link
from localllm.models.names import ModelName
from localllm.models.storage.store import Store
from localllm.quantize.material import Material, name_for, of_manifest, of_path
from tests.convert.checkpoints import write_checkpoint
from tests.tiny import write_tiny_model


def found(path: Path, reference: str = "./it") -> Material:
    return of_path(path, reference, lambda _done, _total: None, lambda _quant, _name: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_a_folder_with_a_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "Tiny-1M", shards=2)
    (folder / "README.md").write_text(
        "---\nlicense: mit\nbase_model:\n- some-org/Base\n- other/Base\n---\n# Tiny\n", "utf-8"
    )
    told: list[tuple[int, int]] = []
    material = of_path(folder, "~/Tiny-1M", lambda done, total: told.append((done, total)), lambda _quant, _name: None)
    assert (material.reference, material.name, material.quant) == ("~/Tiny-1M", "tiny-1m:safetensors", "")
    assert (material.license, material.base_model, material.is_checkpoint) == ("mit", "some-org/Base", True)
    assert material.digests == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert told[-1] == (total, total)
    assert material.weights_bytes == sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    "card", ["", "# no front matter", "---\nlicense: [1, 2]\n---\n", "---\nlicense: &a x\nbase_model: *a\n---\n"]
)
def test_a_card_that_says_nothing_plain(tmp_path: Path, card: str) -> None:
    folder = write_checkpoint(tmp_path / "tiny")
    (folder / "README.md").write_text(card, "utf-8")
    assert (found(folder).license, found(folder).base_model) == ("unknown", "")


def test_a_file_and_a_split_one(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny-f32.gguf")
    assert (found(path).name, found(path).quant, found(path).is_checkpoint) == ("tiny:f32", "F32", False)
    write_tiny_model(tmp_path / "parts.gguf", tensors_each=8)
    material = found(tmp_path / "parts-00002-of-00003.gguf")
    assert [name[-19:] for name in material.files] == [f"0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    assert material.weights_bytes == sum(part.stat().st_size for part in tmp_path.glob("parts-*.gguf"))


def test_a_stored_model_is_named_by_its_name(tmp_path: Path, store: Store) -> None:
    manifest = copy(candidate_of(write_checkpoint(tmp_path / "tiny"), None), store, lambda _done, _total: None)
    material = of_manifest(manifest, store)
    assert (material.reference, material.name) == ("tiny:safetensors", "tiny:safetensors")
    assert material.files["model.safetensors"].name.startswith("sha256-")
    store.path(manifest.files[0]).unlink()
    with pytest.raises(LoadFailed, match="localllm repair tiny:safetensors"):
        of_manifest(manifest, store)


def test_a_model_that_is_used_in_place(tmp_path: Path, store: Store) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    manifest = link(candidate_of(path, None), store, lambda _done, _total: None)
    assert of_manifest(manifest, store).files == {"tiny.gguf": path}


def test_the_quant_is_asked_about_before_anything_is_read(tmp_path: Path) -> None:
    def refuse(quant: str, name: str) -> None:
        raise InvalidRequest(f"{name}: {quant}")

    def read(_done: int, _total: int) -> None:
        raise AssertionError("it was read")

    with pytest.raises(InvalidRequest, match="~/tiny: F32"):
        of_path(write_tiny_model(tmp_path / "tiny.gguf"), "~/tiny", read, refuse)


def test_what_is_no_material(tmp_path: Path) -> None:
    (tmp_path / "model.pte").write_bytes(b"    ET12")
    with pytest.raises(LoadFailed, match="exported program, from which no other model is made; name its checkpoint"):
        found(tmp_path / "model.pte", "./model.pte")
    with pytest.raises(ModelNotFound, match="there is no file"):
        found(tmp_path / "nothing.gguf")
    (tmp_path / "notes.txt").write_text("hello", "utf-8")
    with pytest.raises(LoadFailed, match="is not a GGUF file"):
        found(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadFailed, match="is no checkpoint"):
        found(tmp_path / "empty")


def test_a_checkpoint_of_pickles_says_why_not(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(LoadFailed, match=r"pytorch_model\.bin; such files can run code when they are read"):
        found(folder)
    write_checkpoint(tmp_path / "both")
    (tmp_path / "both" / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    assert "pytorch_model.bin" not in found(tmp_path / "both").files


@pytest.mark.parametrize(
    ("source", "wanted", "name"),
    [
        ("tiny:safetensors", None, "tiny:q4_k_m"),
        ("tiny:f16", None, "tiny:q4_k_m"),
        ("qwen3:1.7b-bf16", None, "qwen3:1.7b-q4_k_m"),
        ("qwen3:1.7b", None, "qwen3:1.7b-q4_k_m"),
        ("mine:v1", None, "mine:v1-q4_k_m"),
        ("some-org/Tiny:safetensors", None, "some-org/Tiny:Q4_K_M"),
        ("some-org/Tiny-GGUF:F16", None, "some-org/Tiny-GGUF:Q4_K_M"),
        ("tiny:safetensors", "other", "other:q4_k_m"),
        ("tiny:safetensors", "other:v2", "other:v2"),
    ],
)
def test_what_the_result_is_called(tmp_path: Path, source: str, wanted: str | None, name: str) -> None:
    material = structs.replace(found(write_tiny_model(tmp_path / "tiny.gguf")), name=ModelName(source))
    assert name_for(material, "Q4_K_M", wanted) == name


@pytest.mark.parametrize("wanted", ["a b", "../x", "a:b:c", "-x", "x" * 300, "a/b/c", ""])
def test_what_cannot_be_a_name(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match="can be no model's name"):
        name_for(found(write_tiny_model(tmp_path / "tiny.gguf")), "Q4_K_M", wanted)
