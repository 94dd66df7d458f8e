"""What is said beside the results: one line each, on stderr, with nothing in it that a terminal would obey."""

import pytest

from localllm.cli.talk import complain, download_bar, raise_all, say, stage_bar
from localllm.errors import DownloadFailed, ModelNotFound
from localllm.models.progress import ELSEWHERE, Progress


def progress(done_bytes: int, source: str = "a hub") -> Progress:
    return Progress(source=source, done_bytes=done_bytes, total_bytes=2_000_000)


def test_names_are_no_pictures_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("tiny:new: [red]x[/red] \x1b[2J")
    complain("\x1b[2J\nsecond")
    assert capsys.readouterr().err == "tiny:new: [red]x[/red] \\x1b[2J\nlocalllm: \\x1b[2J\\nsecond\n"


def test_of_several_errors_all_are_told_and_the_last_decides(capsys: pytest.CaptureFixture[str]) -> None:
    raise_all([])
    with pytest.raises(ModelNotFound, match="second"):
        raise_all([DownloadFailed("first"), ModelNotFound("second")])
    assert capsys.readouterr().err == "localllm: first\n"


def test_each_source_is_named_once_with_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    with download_bar("tiny:1m") as report:
        report(progress(0, ELSEWHERE))
        report(progress(500_000))
        report(progress(2_000_000))
    assert capsys.readouterr().err.splitlines() == [
        f"{ELSEWHERE} is fetching tiny:1m (2 MB); waiting for it …",
        "Fetching tiny:1m (2 MB, 500 kB of it here already) from the a hub …",
    ]


def interrupted(*came: Progress) -> None:
    with download_bar("tiny:1m") as report:
        for one in came:
            report(one)
        raise KeyboardInterrupt


def test_an_interruption_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(progress(0))
    assert "What has arrived is kept" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        interrupted()  # before anything was fetched
    assert capsys.readouterr().err == ""


def test_work_in_stages_is_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_bar() as report:
        for stage, share in (("Converting", 0.0), ("Converting", 0.5), ("Quantizing \x1b[2J", 0.0)):
            report(stage, share)
    assert capsys.readouterr().err.splitlines() == ["Converting …", "Quantizing \\x1b[2J …"]
