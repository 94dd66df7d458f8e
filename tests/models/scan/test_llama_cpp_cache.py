"""llama.cpp's cache, as it was and as it is."""

from pathlib import Path

import pytest

from tests.models.scan.trees import gguf, hub_file, look, only_model, write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "llama.cpp"


def test_a_manifest_beside_the_file_tells_its_repository(cache: Path, tmp_path: Path) -> None:
    path = write(cache / "ggml-org_some_1b-GGUF_some_1b-Q4_K_M.gguf", gguf())
    write(cache / "ggml-org_some_1b-GGUF_some_1b-Q4_K_M.gguf.etag", b"etag")
    write(cache / "ggml-org_some_1b-GGUF_mmproj-some_1b-F16.gguf", gguf("eyes"))
    write(cache / "manifest=ggml-org=some_1b-GGUF=latest.json", b"{}")
    model = only_model(look(tmp_path))
    assert (model.name, model.origin) == ("ggml-org/some_1b-GGUF:Q4_K_M", "llama.cpp")
    assert [(file.path, file.sha256) for file in model.files] == [(path, None)]
    assert "projector" in model.note


def test_the_longest_repository_that_fits_is_the_files(cache: Path, tmp_path: Path) -> None:
    write(cache / "org_some_more-GGUF_x-Q8_0.gguf", gguf())
    for name in ("some", "some_more-GGUF", "so"):
        write(cache / f"manifest=org={name}=Q8_0.json", b"{}")
    write(cache / "manifest=odd.json", b"{}")
    assert only_model(look(tmp_path)).name == "org/some_more-GGUF:Q8_0"


def test_without_a_manifest_the_file_name_is_the_model(cache: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        write(cache / f"org_some-GGUF_some-Q8_0-0000{number}-of-00002.gguf", gguf(str(number)))
    write(cache / "mmproj-other.gguf", gguf())
    model = only_model(look(tmp_path))
    assert (model.name, len(model.files), model.note) == ("org_some-GGUF_some:Q8_0", 2, "")


def test_the_new_cache_is_like_the_hubs(cache: Path, tmp_path: Path) -> None:
    hub_file(cache, "ggml-org/some-GGUF", "some-Q8_0.gguf", gguf())
    model = only_model(look(tmp_path))
    assert (model.name, model.origin) == ("ggml-org/some-GGUF:Q8_0", "llama.cpp")
    assert model.files[0].sha256 is not None


def test_a_cache_shared_with_the_hub_is_listed_once(cache: Path, tmp_path: Path) -> None:
    hub_file(tmp_path / "hub", "ggml-org/some-GGUF", "some-Q8_0.gguf", gguf())
    cache.symlink_to(tmp_path / "hub")
    assert only_model(look(tmp_path)).origin == "hugging-face"
