"""What can be imported, what it is called, and what is no model."""

import os
from pathlib import Path

import msgspec
import pytest

from localllm.errors import InvalidRequest, LoadFailed, LocalLLMError, ModelError, ModelNotFound
from localllm.models.candidate import candidate_of
from localllm.models.import_file import Candidate
from localllm.models.names import ModelName
from localllm.models.reference import NameReference, parse
from tests.models.gguf.headers import ARCHITECTURE, U16, count, gguf, model, pair, tensor, words
from tests.models.pte.programs import program
from tests.models.test_on_disk import PTE
from tests.models.test_reference import HOSTILE

Q4_K_M = count("general.file_type", 15)


def write(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model() if data is None else data)
    return path


def split(folder: Path, parts: int = 3, stem: str = "Big-Q4_K_M") -> list[Path]:
    """A split model."""
    paths = [folder / f"{stem}-{number:05d}-of-{parts:05d}.gguf" for number in range(1, parts + 1)]
    for number, path in enumerate(paths):
        numbers = [pair("split.no", U16, number), pair("split.count", U16, parts)]
        first = [ARCHITECTURE, Q4_K_M] if number == 0 else []
        write(path, gguf([*first, *numbers], [tensor(f"{number}.weight")]))
    return paths


def checkpoint(folder: Path, *more: str) -> Path:
    for name in ("config.json", "model.safetensors", "tokenizer.json", *more):
        write(folder / name, name.encode())
    return folder


def refused(path: Path, kind: type[ModelError] = LoadFailed) -> str:
    with pytest.raises(kind) as caught:
        candidate_of(path, None)
    assert caught.value.message.isprintable()
    return caught.value.message


def names_of(candidate: Candidate) -> list[str]:
    return [path.name for path in candidate.paths]


# GGUF


def test_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "Some-Model.Q4_K_M.gguf", model(Q4_K_M, words("general.license", "apache-2.0")))
    found = candidate_of(path, None)
    assert found == Candidate(
        name=ModelName("some-model:q4_k_m"),
        format="gguf",
        quant="Q4_K_M",
        license="apache-2.0",
        source=f"imported from {path}",
        paths=(path,),
    )
    assert found.filenames == ("Some-Model.Q4_K_M.gguf",)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.gguf")
    monkeypatch.chdir(tmp_path)
    for text in ("x.gguf", "./x.gguf", "../" + tmp_path.name + "/x.gguf"):
        found = candidate_of(Path(text), None)
        assert found.paths == (tmp_path / "x.gguf",)
        assert found.source == f"imported from {tmp_path / 'x.gguf'}"


def test_the_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "x.gguf")
    assert candidate_of(Path("~/x.gguf"), None).paths == (tmp_path / "x.gguf",)
    assert "cannot read" in refused(Path("~nobody-by-that-name/x.gguf"))


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    assert candidate_of(write(tmp_path / "x.pte"), None).format == "gguf"
    assert candidate_of(write(tmp_path / "sha256-0123"), None).filenames == ("sha256-0123.gguf",)
    write(tmp_path / "tokenizer.model", b"")
    found = candidate_of(write(tmp_path / "x.bin", PTE), None)
    assert (found.format, found.filenames) == ("pte", ("x.bin.pte", "tokenizer.model"))


@pytest.mark.parametrize("named", [0, 1, 2])
def test_a_split_model_is_named_by_any_of_its_parts(tmp_path: Path, named: int) -> None:
    paths = split(tmp_path)
    found = candidate_of(paths[named], None)
    assert (found.name, found.quant, found.paths) == ("big:q4_k_m", "Q4_K_M", tuple(paths))
    assert found.filenames == tuple(path.name for path in paths)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_part_is_named(tmp_path: Path, gone: int) -> None:
    paths = split(tmp_path)
    paths[gone].unlink()
    assert f"there is no file {paths[gone]}, a part of" in refused(paths[(gone + 1) % 3], ModelNotFound)


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    paths = split(tmp_path)
    paths[2].write_bytes(paths[1].read_bytes())
    assert "part 3 of 3" in refused(paths[0])


def test_a_part_that_was_renamed_is_not_taken_for_a_whole_model(tmp_path: Path) -> None:
    first, second, _ = split(tmp_path)
    assert "one of 3 parts; import it under the name it had" in refused(first.rename(tmp_path / "x.gguf"))
    assert "later part of a split model" in refused(second.rename(tmp_path / "y.gguf"))


def test_an_image_encoder_is_no_model(tmp_path: Path) -> None:
    assert "import the model itself" in refused(write(tmp_path / "mmproj.gguf", model(architecture="clip")))


def test_a_header_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    license_ = "mit\n\x1b[2J" + "x" * 1000
    found = candidate_of(write(tmp_path / "x.gguf", model(words("general.license", license_))), None)
    assert found.license.startswith("mit\\n\\x1b[2Jxxx")
    assert found.license.isprintable()
    assert len(found.license) < 100


@pytest.mark.parametrize("data", [b"", b"GGUF", b"<html>", gguf()[:100], gguf(tensors=[])])
def test_what_is_no_gguf_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "x.gguf" in refused(write(tmp_path / "x.gguf", data))


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.gguf", ModelNotFound) == f"there is no file {tmp_path / 'gone.gguf'}"
    assert "no regular file" in refused(Path("/dev/null"))
    assert "cannot read" in refused(Path("a\0b"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot read" in refused(tmp_path / "loop")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "no regular file" in refused(tmp_path / "pipe.gguf")


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
    assert "is no Unicode text, which a manifest needs; rename it" in refused(write(path))


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:8]))
def test_hostile_paths_are_refused_in_one_line(tmp_path: Path, hostile: str) -> None:
    for path in (tmp_path / "gone" / hostile, tmp_path / "gone" / f"{hostile}.gguf"):
        with pytest.raises(ModelError) as caught:
            candidate_of(path, None)
        assert caught.value.message.isprintable()


# Exported models


def test_an_exported_model_comes_with_its_tokenizer(tmp_path: Path) -> None:
    path = write(tmp_path / "Model-Q8_0.pte", PTE)
    for name in ("tokenizer.json", "config.json", "chat_template.jinja", "notes.txt", "other.pte"):
        write(tmp_path / name, b"{}")
    found = candidate_of(path, None)
    assert (found.name, found.format, found.quant, found.license) == ("model:q8_0", "pte", "Q8_0", "unknown")
    assert names_of(found) == ["Model-Q8_0.pte", "tokenizer.json", "config.json", "chat_template.jinja"]


def test_the_folder_of_an_exported_model_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    path = write(folder / "model.PTE", PTE)
    write(folder / "tokenizer.json", b"{}")
    write(folder / "config.json", b"{}")
    assert candidate_of(folder, None) == candidate_of(path, None)
    assert candidate_of(folder, None).filenames == ("model.PTE", "tokenizer.json", "config.json")
    write(folder / "other.pte", PTE)
    assert "which one of" in refused(folder)
    assert "There is model.PTE, other.pte; name the file itself" in refused(folder)


@pytest.mark.parametrize("data", [PTE[:-1], program(forward=None)])
def test_an_exported_model_that_cannot_run_is_refused(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "tokenizer.json", b"{}")
    assert "model.pte" in refused(write(tmp_path / "model.pte", data))


def test_an_exported_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pte", PTE)
    write(tmp_path / "config.json", b"{}")
    assert "no tokenizer beside it" in refused(path)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\0\0\0\0ET11", b"ET12\0\0\0\0"])
def test_what_only_calls_itself_an_exported_model_is_refused(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "tokenizer.json", b"{}")
    assert "is not an ExecuTorch file" in refused(write(tmp_path / "model.pte", data))


# Checkpoints


def test_a_checkpoint_is_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unwanted = [
        "pytorch_model.bin",
        "modeling.py",
        ".gitattributes",
        "extra.gguf",
        "extra.pte",
        "run.sh",
        "._x.safetensors",
    ]
    folder = checkpoint(tmp_path / "Qwen2.5-0.5B", "LICENSE", "README.md", *unwanted)
    (folder / "onnx").mkdir()
    found = candidate_of(folder, None)
    assert (found.name, found.format, found.quant) == ("qwen2.5-0.5b:safetensors", "safetensors", "")
    assert names_of(found) == ["model.safetensors", "LICENSE", "README.md", "config.json", "tokenizer.json"]
    assert found.filenames == tuple(names_of(found))
    assert found.source == f"imported from {folder}"
    monkeypatch.chdir(folder)
    assert candidate_of(Path("."), None) == found


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_checkpoint(tmp_path: Path, gone: str) -> None:
    (checkpoint(tmp_path) / gone).unlink()
    assert "is no checkpoint: it wants a config.json and .safetensors files" in refused(tmp_path)


@pytest.mark.parametrize(
    ("index", "word"),
    [
        ({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}, "lacks model-2.safetensors"),
        ({"weight_map": {"a": "../model.safetensors"}}, "no .safetensors file beside it"),
        ({"weight_map": {"a": "pytorch_model.bin"}}, "no .safetensors file beside it"),
        ({}, "cannot be read"),
    ],
)
def test_a_checkpoint_has_all_that_its_index_names(tmp_path: Path, index: object, word: str) -> None:
    checkpoint(tmp_path)
    write(tmp_path / "model.safetensors.index.json", msgspec.json.encode(index))
    assert word in refused(tmp_path)


def test_a_checkpoint_in_several_files(tmp_path: Path) -> None:
    checkpoint(tmp_path, "model-2.safetensors")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    write(tmp_path / "model.safetensors.index.json", msgspec.json.encode(index))
    assert names_of(candidate_of(tmp_path, None))[:2] == ["model-2.safetensors", "model.safetensors"]


# Names


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("tiny.gguf", "tiny:q4_k_m"),
        ("Tiny-1.5B-Instruct-Q4_K_M.gguf", "tiny-1.5b-instruct:q4_k_m"),
        ("tiny.Q4_K_M.gguf", "tiny:q4_k_m"),
        ("tiny_q4_k_m.gguf", "tiny:q4_k_m"),
        ("tiny-Q8_0.gguf", "tiny-q8_0:q4_k_m"),  # its header knows better
        ("Q4_K_M.gguf", "q4_k_m:q4_k_m"),
        ("-Q4_K_M.gguf", "q4_k_m:q4_k_m"),
        ("größe 1.gguf", "gr-e-1:q4_k_m"),
        ("模型.gguf", "model:q4_k_m"),
        ("echo.gguf", "model-echo:q4_k_m"),
        ("con.gguf", "model-con:q4_k_m"),
        (".gguf", "gguf:q4_k_m"),
        ("a" * 150 + ".gguf", "a" * 80 + ":q4_k_m"),
        ("model.v1.bin", "model.v1.bin:q4_k_m"),
    ],
)
def test_the_name_comes_from_the_file(tmp_path: Path, filename: str, name: str) -> None:
    found = candidate_of(write(tmp_path / filename, model(Q4_K_M)), None)
    assert found.name == name
    assert parse(found.name) == NameReference(name=name)


def test_the_name_of_a_link_is_its_own(tmp_path: Path) -> None:
    """Behind those of other programs' caches lie files that are called by their digest."""
    blob = write(tmp_path / "blobs" / ("0" * 64))
    (tmp_path / "Tiny.gguf").symlink_to(blob)
    found = candidate_of(tmp_path / "Tiny.gguf", None)
    assert (found.name, found.paths) == ("tiny:f32", (tmp_path / "Tiny.gguf",))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mine", "mine:q4_k_m"),
        ("mine:v1", "mine:v1"),
        ("Mine:V1", "Mine:V1"),
        (ModelName("some-org/Tiny-GGUF:latest"), "some-org/Tiny-GGUF:latest"),
    ],
)
def test_a_name_that_is_given(tmp_path: Path, given: str, name: str) -> None:
    assert candidate_of(write(tmp_path / "x.gguf", model(Q4_K_M)), given).name == name


@pytest.mark.parametrize(
    "given",
    ["", ":", "a:", ":a", "a:b:c", "a/b", "a/b:c", "../x", "echo", "echo:1", "x:y.gguf", "-x", "con", "a b", *HOSTILE],
    ids=lambda text: ascii(text[:8]),
)
def test_a_name_that_cannot_be_one(tmp_path: Path, given: str) -> None:
    path = write(tmp_path / "x.gguf")
    with pytest.raises(InvalidRequest, match="can be no model's name; one looks like") as caught:
        candidate_of(path, given)
    assert caught.value.message.isprintable()
    assert isinstance(caught.value, LocalLLMError)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("größe 1.gguf", "größe 1.gguf"),
        ("a:b?.gguf", "model-a-b-.gguf"),
        (".hidden.gguf", "model-.hidden.gguf"),
        ("-x.GGUF", "model--x.GGUF"),
        ("con.gguf", "model-con.gguf"),
        ("a\nb.gguf", "model-a-b.gguf"),
        ("a" * 198, "model-" + "a" * 95 + ".gguf"),
    ],
)
def test_what_the_store_calls_a_file_is_safe_everywhere(tmp_path: Path, name: str, stored: str) -> None:
    assert candidate_of(write(tmp_path / name), None).filenames == (stored,)
