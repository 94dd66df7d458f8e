"""Following a card's recipe once more: the same source, the same text, and what came out."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from localllm.errors import IntegrityError, InvalidRequest
from localllm.quantize.calibration.texts import both_texts, calibration_text
from localllm.quantize.making import MadeFile
from localllm.quantize.material import Material, of_path
from localllm.quantize.provenance.recipe import Calibration, FileFacts
from localllm.quantize.provenance.repeating import Repeat
from localllm.quantize.steps import Quantized
from tests.convert.checkpoints import write_checkpoint
from tests.quantize.examples import MADE, SHA
from tests.quantize.matrices import write_matrix

replace = msgspec.structs.replace


def calibrated_with(name: str, sha256: str) -> Repeat:
    calibration = Calibration(
        text=name, text_sha256=sha256, chunks=7, chunk_tokens=512, threads=3, importance_sha256=SHA
    )
    return Repeat(made=replace(MADE, recipe=replace(MADE.recipe, calibration=calibration)))


@pytest.fixture
def material(tmp_path: Path) -> Material:
    folder = write_checkpoint(tmp_path / "tiny")
    return of_path(folder, "~/tiny", lambda _done, _total: None, lambda _quant, _name: None)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("a line of text\n" * 200, "utf-8")
    return path


def test_the_source_must_be_the_same_to_the_byte(material: Material) -> None:
    files = {name: FileFacts(sha256=digest, size_bytes=1) for name, digest in material.digests.items()}
    Repeat(made=replace(MADE, source=replace(MADE.source, files=files))).check_source(material)
    other = files | {"tokenizer.json": FileFacts(sha256=SHA, size_bytes=1)}
    with pytest.raises(IntegrityError, match=r"^tokenizer\.json of ~/tiny has another SHA-256, [0-9a-f]{64}, so"):
        Repeat(made=replace(MADE, source=replace(MADE.source, files=other))).check_source(material)
    more = files | {"chat_template.jinja": FileFacts(sha256=SHA, size_bytes=1)}
    with pytest.raises(IntegrityError, match=r"^chat_template\.jinja of ~/tiny is not there"):
        Repeat(made=replace(MADE, source=replace(MADE.source, files=more))).check_source(material)


def test_the_recipe_says_it_all() -> None:
    text = calibration_text("default")
    assert text is not None
    wish = calibrated_with("default", text.sha256).wish(None)
    assert (wish.calibration, wish.calibration_chunks, wish.calibration_threads) == (text, 7, 3)
    assert (wish.overrides, wish.output_type) == (MADE.recipe.overrides, "Q6_K")
    assert (wish.prune_layers, wish.allow_requantize, wish.is_pure) == ((3, 5), False, False)
    assert wish.named is not None
    assert (wish.named.name, wish.named.metadata) == ("Tiny", {"general.license": "apache-2.0"})
    of_gguf = replace(MADE.recipe, converted_type="", calibration=None)
    assert Repeat(made=replace(MADE, recipe=of_gguf)).wish(None).named is None


def test_a_text_is_named_where_it_is_now(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = calibration_text(str(notes))
    assert text is not None
    repeat = calibrated_with("notes.txt", text.sha256)
    assert repeat.wish(str(notes)).calibration == text
    for choice in (None, "default", "none", str(notes.parent)):
        with pytest.raises(InvalidRequest, match=f"calibrated with, whose SHA-256 is {text.sha256}") as caught:
            repeat.wish(choice)
        assert caught.value.param == "calibrate"
    monkeypatch.chdir(notes.parent)
    assert repeat.wish(None).calibration == text
    notes.write_text("another text\n" * 200, "utf-8")
    with pytest.raises(InvalidRequest, match=r"^'notes\.txt' is not the text"):
        repeat.wish(None)


def test_a_text_that_was_cut_is_cut_again(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = both_texts(str(notes), str(notes))
    assert first is not None
    repeat = calibrated_with(first.name, first.sha256)
    assert repeat.wish(str(notes)).calibration == first
    monkeypatch.chdir(notes.parent)
    assert repeat.wish(None).calibration == first


def test_a_matrix_is_the_same_to_the_byte(tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path / "some.imatrix")
    digest = hashlib.sha256(matrix.read_bytes()).hexdigest()
    repeat = Repeat(made=replace(MADE, recipe=replace(MADE.recipe, calibration=None, importance_sha256=digest)))
    assert repeat.wish(str(matrix)).importance == matrix
    other = write_matrix(tmp_path / "other.imatrix", seed=1)
    for choice in (None, str(other), str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(InvalidRequest, match=f"an importance matrix of the SHA-256 {digest}") as caught:
            repeat.wish(choice)
        assert caught.value.param == "calibrate"


def test_what_came_out_is_compared_with_the_weights_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    file = MadeFile(
        type="Q8_0",
        path=path,
        recipe=MADE.recipe,
        quantized=Quantized(size_bytes=7, weights_bytes=7, parameters=7, tensors=()),
    )
    for files, is_same in (
        ({"Tiny-Q4_K_M.gguf": digest}, True),
        ({"Tiny-Q4_K_M.gguf": SHA}, False),
        ({"Tiny-Q4_K_M.gguf": SHA, "Tiny.imatrix": digest}, False),
    ):
        outcome = replace(
            MADE.outcome, files={name: FileFacts(sha256=sha256, size_bytes=7) for name, sha256 in files.items()}
        )
        assert Repeat(made=replace(MADE, outcome=outcome)).is_same(file) is is_same
