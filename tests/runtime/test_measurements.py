"""Figures in a file of the home: kept, found again, and never in the way."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from localllm.models.local import LocalModel
from localllm.runtime import measurements
from localllm.runtime.measurements import (
    DOUBT_SECONDS,
    FILE,
    MOST_ENTRIES,
    Measured,
    MeasurementFile,
    Subject,
    failed_now,
    identity_of,
    machine_name,
    measured_now,
)
from localllm.types import ModelDefaults

ROOT = Path(__file__).parent.parent.parent
SUBJECT = Subject(model="a1b2", engine="llama_cpp", build="1", device="auto", threads=None, machine="this one")
MEASURED = Measured(subject=SUBJECT, name="m", measured_at=1000, rates={"chat": 12.5}, streams=16, device="cpu")


class Warnings(list[str]):
    """What was warned of."""

    def file(self, home: Path) -> MeasurementFile:
        return MeasurementFile(home, self.append)


def silent(home: Path) -> MeasurementFile:
    def fail(text: str) -> None:
        raise AssertionError(text)

    return MeasurementFile(home, fail)


def test_what_was_measured_is_found_again_by_another(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    silent(home).remember(MEASURED)
    assert silent(home).recall(SUBJECT) == MEASURED
    assert [path.name for path in home.iterdir() if path.is_file()] == [FILE]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "c3"},
        {"engine": "openvino"},
        {"build": "2"},
        {"device": "gpu"},
        {"threads": 1},
        {"setup": "prefer battery"},
        {"machine": "another"},
    ],
    ids=str,
)
def test_another_subject_has_figures_of_its_own(tmp_path: Path, other: dict[str, object]) -> None:
    file, subject = silent(tmp_path), replace(SUBJECT, **other)
    file.remember(MEASURED)
    assert file.recall(subject) is None
    file.remember(replace(MEASURED, subject=subject, rates={"chat": 1.0}))
    assert [entry.rates["chat"] for entry in map(file.recall, (SUBJECT, subject)) if entry] == [12.5, 1.0]


def test_new_figures_take_the_place_of_the_old(tmp_path: Path) -> None:
    file = silent(tmp_path)
    file.remember(MEASURED)
    file.remember(replace(MEASURED, rates={"reading": 3.0}, measured_at=2000))
    assert [entry.rates for entry in file.entries()] == [{"reading": 3.0}]


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "MOST_ENTRIES", 3)
    file = silent(tmp_path)
    for at in (50, 10, 40, 20, 30):
        file.remember(replace(MEASURED, subject=replace(SUBJECT, model=str(at)), measured_at=at))
    assert [entry.measured_at for entry in file.entries()] == [30, 40, 50]
    assert MOST_ENTRIES >= 100


def test_a_failure_is_remembered_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = silent(tmp_path)
    file.remember(failed_now(SUBJECT, "m", "no such layer"))
    found = file.recall(SUBJECT)
    assert found is not None
    assert (found.fault, found.rates) == ("no such layer", {})
    assert_gone_tomorrow(file, monkeypatch)


def test_figures_of_a_busy_machine_are_believed_for_a_day_and_others_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = silent(tmp_path)
    for engine, is_busy in (("llama_cpp", True), ("openvino", False)):
        subject = replace(SUBJECT, engine=engine)
        file.remember(measured_now(subject, "m", {"chat": 1.0}, streams=1, device="cpu", is_doubtful=is_busy))
        assert file.recall(subject) is not None
    assert_gone_tomorrow(file, monkeypatch)
    assert file.recall(replace(SUBJECT, engine="openvino")) is not None


def assert_gone_tomorrow(file: MeasurementFile, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for moved in (DOUBT_SECONDS + 2, -DOUBT_SECONDS):  # the clock was put back: nobody knows how old it is
        monkeypatch.setattr(time, "time", lambda moved=moved: now + moved)
        assert file.recall(SUBJECT) is None


def test_figures_are_numbers(tmp_path: Path) -> None:
    rates = {"chat": 2.0, "reading": math.inf, "serving": 0.0}
    measured = measured_now(SUBJECT, "m", rates, streams=1, device="cpu")  # type: ignore[arg-type]
    assert measured.rates == {"chat": 2.0}
    assert abs(measured.measured_at - time.time()) < 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe{", "is damaged"),
        (b"[1, 2]", "is damaged"),
        (b'{"version": 1}', "is damaged"),
        (b'{"version": 1, "entries": [{"subject": 5}]}', "is damaged"),
        (b'{"version": 7, "entries": []}', "is of format 7, not 1"),
    ],
    ids=repr,
)
def test_a_file_that_is_none_is_a_warning_and_written_anew(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    warnings = Warnings()
    file = warnings.file(tmp_path)
    assert file.recall(SUBJECT) is None
    file.remember(MEASURED)
    assert len(warnings) == 1  # once, however often it is read
    assert words in warnings[0]
    assert str(tmp_path / FILE) in warnings[0]
    assert silent(tmp_path).recall(SUBJECT) == MEASURED


def test_a_rate_that_cannot_be_is_damage(tmp_path: Path) -> None:
    silent(tmp_path).remember(MEASURED)
    text = (tmp_path / FILE).read_text("utf-8")
    (tmp_path / FILE).write_text(text.replace("12.5", "-12.5"), "utf-8")
    warnings = Warnings()
    assert warnings.file(tmp_path).entries() == []
    assert "is damaged" in warnings[0]


def test_a_folder_in_its_place_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    warnings = Warnings()
    file = warnings.file(tmp_path)
    assert file.recall(SUBJECT) is None
    file.remember(MEASURED)
    assert any("cannot be read" in text for text in warnings)
    assert any("not remembered" in text for text in warnings)


def test_a_home_that_cannot_be_made_is_a_warning_and_measuring_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    warnings = Warnings()
    file = warnings.file(tmp_path / "file" / "home")
    with file.measuring(lambda: None):
        file.remember(MEASURED)
    assert file.forget() == 0
    assert any("not remembered" in text for text in warnings)


def test_the_format_is_the_one_that_is_documented(tmp_path: Path) -> None:
    silent(tmp_path).remember(MEASURED)
    written = json.loads((tmp_path / FILE).read_bytes())
    assert written["version"] == 1
    assert written["entries"][0]["subject"]["engine"] == "llama_cpp"
    assert written["entries"][0]["rates"] == {"chat": 12.5}


def test_figures_are_forgotten_by_name_or_identity_or_all(tmp_path: Path) -> None:
    file = silent(tmp_path)

    def fill() -> None:
        for name in "xyz":
            file.remember(replace(MEASURED, name=name, subject=replace(SUBJECT, model=f"of {name}")))

    fill()
    assert (file.forget("x"), file.forget("of y"), file.forget("nobody")) == (1, 1, 0)
    assert [entry.name for entry in file.entries()] == ["z"]
    fill()
    assert file.forget() == 3
    assert file.entries() == []


def remember_many(home: Path, engine: str, count: int) -> None:
    """What each of the two processes does."""
    file = silent(home)
    for at in range(count):
        file.remember(replace(MEASURED, subject=replace(SUBJECT, engine=engine, model=str(at))))


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.runtime.test_measurements import remember_many
remember_many(Path(sys.argv[1]), sys.argv[2], 20)
"""
    others = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), engine], cwd=ROOT) for engine in "ab"]
    assert [other.wait(60) for other in others] == [0, 0]
    assert len(silent(tmp_path).entries()) == 40
    assert not list(tmp_path.glob("*.part"))


def test_only_one_measures_and_others_are_told_to_wait(tmp_path: Path) -> None:
    waited: list[bool] = []

    def gone() -> None:
        """Told that somebody measures: let him end."""
        waited.append(True)
        if len(waited) == 2:
            first.__exit__(None, None, None)

    first = silent(tmp_path).measuring(lambda: None)
    first.__enter__()
    with silent(tmp_path).measuring(gone):
        assert len(waited) >= 2


def test_a_model_is_known_by_its_bytes_or_its_name_and_size() -> None:
    model = LocalModel(
        id="m", engine="llama_cpp", path="/m", created=0, size_bytes=7, defaults=ModelDefaults(), identity="a1"
    )
    assert identity_of(model) == "a1"
    assert identity_of(replace(model, identity="")) == "m of 7 bytes"


def test_a_machine_has_a_name() -> None:
    assert machine_name().endswith("cores")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_nobody_else_reads_it(tmp_path: Path) -> None:
    silent(tmp_path).remember(MEASURED)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
