"""The cache of the hub: files by repository and quant, with the digest that their blob is named by."""

import os
from pathlib import Path

import pytest

from tests.models.scan.trees import COMMIT, OLDER, gguf, hub_file, look, only_model, reasons, sha256, write

REPOSITORY = "org/Some-1B-GGUF"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def test_a_file_is_named_by_repository_and_quant_and_known_by_its_blob(hub: Path, tmp_path: Path) -> None:
    link = hub_file(hub, REPOSITORY, "some-1b-q4_k_m.gguf", gguf())
    hub_file(hub, REPOSITORY, "README.md", b"# words", etag="c" * 40)
    model = only_model(look(tmp_path))
    assert (model.name, model.origin, model.note) == (f"{REPOSITORY}:Q4_K_M", "hugging-face", "")
    (file,) = model.files
    assert (file.path, file.size_bytes, file.sha256) == (link, len(gguf()), sha256(gguf()))


def test_without_links_the_file_is_found_and_its_digest_is_unknown(hub: Path, tmp_path: Path) -> None:
    path = write(hub / "models--org--Some-1B-GGUF" / "snapshots" / COMMIT / "some-Q8_0.gguf", gguf())
    (file,) = only_model(look(tmp_path)).files
    assert (file.path, file.sha256) == (path, None)


def test_an_etag_that_is_no_sha256_is_no_digest(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf(), etag="c" * 40)
    assert only_model(look(tmp_path)).files[0].sha256 is None


def test_only_a_blobs_name_is_a_digest(hub: Path, tmp_path: Path) -> None:
    link = hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    link.unlink()
    link.symlink_to(write(hub / "models--org--Some-1B-GGUF" / "other" / ("0" * 64), gguf()))
    assert only_model(look(tmp_path)).files[0].sha256 is None


def test_parts_are_one_model_in_their_order(hub: Path, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        hub_file(hub, REPOSITORY, f"Q6_K/some-Q6_K-0000{number}-of-00003.gguf", gguf(str(number)))
    model = only_model(look(tmp_path))
    assert model.name == f"{REPOSITORY}:Q6_K"
    assert [file.path.name[-19:-14] for file in model.files] == ["00001", "00002", "00003"]
    assert [file.sha256 for file in model.files] == [sha256(gguf(number)) for number in "123"]


def test_an_incomplete_set_is_no_model(hub: Path, tmp_path: Path) -> None:
    for number in (1, 3):
        hub_file(hub, REPOSITORY, f"some-Q6_K-0000{number}-of-00003.gguf", gguf(str(number)))
    write(hub / "models--org--Some-1B-GGUF" / "snapshots" / COMMIT / "some-Q6_K-00002-of-00003.gguf", b"half")
    report = look(tmp_path)
    assert report.models == ()
    assert "only 2 of the 3 parts" in reasons(report)
    assert "b'half'" in reasons(report)


def test_the_branch_main_comes_before_other_snapshots(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf("new"))
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf("old"), commit=OLDER)
    hub_file(hub, REPOSITORY, "some-Q2_K.gguf", gguf("only old"), commit=OLDER)
    hub_file(hub, REPOSITORY, "some-Q4_0.gguf", gguf("same"))
    hub_file(hub, REPOSITORY, "some-Q4_0.gguf", gguf("same"), commit=OLDER)
    report = look(tmp_path)
    found = {model.name.rpartition(":")[2]: model.files[0].sha256 for model in report.models}
    assert found == {"Q8_0": sha256(gguf("new")), "Q4_0": sha256(gguf("same")), "Q2_K": sha256(gguf("only old"))}
    (skipped,) = report.skipped
    assert OLDER in str(skipped.path)
    assert "found first" in skipped.reason


def test_a_projector_is_no_model_but_is_said(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    hub_file(hub, REPOSITORY, "mmproj-some-F16.gguf", gguf("eyes"))
    hub_file(hub, REPOSITORY, "imatrix_some.gguf", gguf("matrix"))
    model = only_model(look(tmp_path))
    assert (model.name, "projector" in model.note) == (f"{REPOSITORY}:Q8_0", True)


@pytest.mark.parametrize(
    ("filenames", "tags"),
    [
        (["model.gguf"], ["latest"]),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], ["a-Q4_K_M", "b-Q4_K_M"]),
        (["a.gguf", "b.gguf"], ["a", "b"]),
        (["one/model.gguf", "two/model.gguf"], ["one-model", "two-model"]),
        (["Q5_K_M/model.gguf", "Q8_0/model.gguf"], ["Q5_K_M", "Q8_0"]),
        (["so many words.gguf", "und Wörter.gguf"], ["so-many-words", "und-W-rter"]),
        (["x-UD-Q4_K_XL.gguf", "x-BF16.gguf", "x-IQ2_XXS.gguf"], ["BF16", "IQ2_XXS", "UD-Q4_K_XL"]),
    ],
)
def test_files_of_a_repository_have_different_tags(
    hub: Path, tmp_path: Path, filenames: list[str], tags: list[str]
) -> None:
    for filename in filenames:
        hub_file(hub, REPOSITORY, filename, gguf(filename))
    report = look(tmp_path)
    assert [model.name for model in report.models] == [f"{REPOSITORY}:{tag}" for tag in tags]
    assert report.skipped == ()


def test_an_old_repository_has_no_owner(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, "gpt2", "gpt2-Q8_0.gguf", gguf())
    assert only_model(look(tmp_path)).name == "gpt2:Q8_0"


def test_repositories_of_safetensors_are_counted(hub: Path, tmp_path: Path) -> None:
    for repository in ("org/one", "org/two"):
        hub_file(hub, repository, "model.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")
    hub_file(hub, "org/both", "model.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")
    hub_file(hub, "org/both", "model-Q8_0.gguf", gguf())
    write(hub / "datasets--org--words" / "snapshots" / COMMIT / "data.gguf", gguf())
    report = look(tmp_path)
    assert [model.name for model in report.models] == ["org/both:Q8_0"]
    (skipped,) = report.skipped
    assert skipped.path == hub
    assert "safetensors" in skipped.reason
    assert skipped.reason.endswith("2")


def test_a_link_may_not_lead_out_of_its_repository(hub: Path, tmp_path: Path) -> None:
    link = hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    link.unlink()
    link.symlink_to(write(tmp_path / "private" / ("0" * 64), gguf()))
    report = look(tmp_path)
    assert report.models == ()
    assert "leads out" in reasons(report)


def test_a_link_to_nothing_and_a_circle_are_skipped(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    snapshot = hub / "models--org--Some-1B-GGUF" / "snapshots" / COMMIT
    (snapshot / "gone-Q4_0.gguf").symlink_to("../../blobs/gone")
    (snapshot / "circle-Q4_0.gguf").symlink_to("circle-Q4_0.gguf")
    (snapshot / "back").symlink_to("..")
    (snapshot / "again").symlink_to(".")
    report = look(tmp_path)
    assert [model.name for model in report.models] == [f"{REPOSITORY}:Q8_0"]
    assert "link to nothing" in reasons(report)
    assert "already" in reasons(report)
    assert "circle-Q4_0.gguf: it cannot be read" in reasons(report)


@pytest.mark.parametrize("data", [b"", b"x" * 1000, b"\xff\xfe", b"../../../etc\n"])
def test_a_broken_branch_does_no_harm(hub: Path, tmp_path: Path, data: bytes) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    write(hub / "models--org--Some-1B-GGUF" / "refs" / "main", data)
    assert only_model(look(tmp_path)).name == f"{REPOSITORY}:Q8_0"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a FIFO")
def test_a_fifo_does_not_stop_the_scan(hub: Path, tmp_path: Path) -> None:
    hub_file(hub, REPOSITORY, "some-Q8_0.gguf", gguf())
    os.mkfifo(hub / "models--org--Some-1B-GGUF" / "snapshots" / COMMIT / "pipe-Q4_0.gguf")
    (hub / "models--org--Some-1B-GGUF" / "refs" / "main").unlink()
    os.mkfifo(hub / "models--org--Some-1B-GGUF" / "refs" / "main")
    report = look(tmp_path)
    assert [model.name for model in report.models] == [f"{REPOSITORY}:Q8_0"]
    assert "no regular file" in reasons(report)
