"""`localllm run` as a shell sees it: stdout, stderr, exit codes, signals."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.marks import slow
from tests.processes import LOCALLLM, Done, localllm

RUN = [*LOCALLLM, "run"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def run(*arguments: str, stdin: str | None = None, **environment: str) -> Done:
    return localllm("run", *arguments, stdin=stdin, environment=os.environ | environment)


@pytest.mark.real_model
@pytest.mark.slow
def test_the_capital_of_france(starter_home: Path) -> None:
    result = run("--temperature", "0", "What is the capital of France?", LOCALLLM_HOME=str(starter_home))
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout
    assert result.stdout.endswith("\n")
    assert result.stderr == ""


def test_stdout_holds_the_answer_alone() -> None:
    result = run("--model", "echo", "Hello, wörld")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Hello, wörld\n", "")


@pytest.mark.slow
def test_the_question_may_come_through_a_pipe() -> None:
    assert run("--model", "echo", stdin="from a pipe\n").stdout == "from a pipe\n"


@pytest.mark.slow
def test_what_is_piped_in_stands_below_the_question() -> None:
    assert run("--model", "echo", "Summarize:", stdin="some notes").stdout == "Summarize:\n\nsome notes\n"


@pytest.mark.slow
def test_nothing_to_ask_is_a_usage_error() -> None:
    result = run("--model", "echo")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "localllm run" in result.stderr


def test_json_tells_all_there_is() -> None:
    result = run("--model", "echo", "--json", "hi")
    told = json.loads(result.stdout)
    assert (told["model"], told["text"], told["finish_reason"]) == ("echo", "hi", "stop")
    assert told["usage"]["prompt_tokens"] == 3  # with the end of the turn
    assert result.stderr == ""


@pytest.mark.slow
def test_a_cut_answer_is_said_to_be_cut() -> None:
    result = run("--model", "echo", "--max-tokens", "3", "abcdef")
    assert result.stdout == "abc\n"
    assert "cut off" in result.stderr


@pytest.mark.slow
def test_stats_go_to_stderr() -> None:
    result = run("--model", "echo", "--stats", "abc")
    assert result.stdout == "abc\n"
    assert "4 prompt tokens" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--model", "nobody", "hi"), 3, "nobody"),
        (("--model", "missing.gguf", "hi"), 3, "missing.gguf"),
        (("--model", __file__, "hi"), 5, "GGUF"),
        (("--temperature", "3", "hi"), 2, "temperature"),
        (("--context", "0", "hi"), 2, "context"),
        (("--frobnicate", "hi"), 2, "frobnicate"),
        (("--model", "echo", "--context", "256", "x" * 300), 2, "context"),
    ],
)
@pytest.mark.slow
def test_a_mistake_has_a_line_and_a_code(arguments: tuple[str, ...], code: int, word: str) -> None:
    result = run(*arguments)
    assert result.returncode == code
    assert word in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_broken_config_file_is_named(clean_environment: Path) -> None:
    (clean_environment / "config.toml").write_text("modle = 'echo'")
    result = run("hi")
    assert result.returncode == 2
    assert "config.toml" in result.stderr
    assert "modle" in result.stderr


@pytest.mark.slow
def test_the_config_file_and_the_environment_choose_the_model(clean_environment: Path) -> None:
    (clean_environment / "config.toml").write_text("model = 'nobody'")
    assert run("hi").returncode == 3
    assert run("hi", LOCALLLM_MODEL="echo").stdout == "hi\n"


@pytest.mark.slow
def test_offline_nothing_is_fetched() -> None:
    result = run("hi", LOCALLLM_OFFLINE="1")
    assert result.returncode == 4
    assert "offline" in result.stderr


@POSIX
def test_ctrl_c_ends_it_with_what_has_come_and_leaves_nothing_behind() -> None:
    command = [*RUN, "--model", "echo:20", "x" * 400]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == "x"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert rest.endswith("\n")
    assert "Traceback" not in said
    deadline = time.monotonic() + 5
    while any(worker.is_running() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@POSIX
@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_disaster() -> None:
    command = [*RUN, "--model", "echo", "word " * 40]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert b"Traceback" not in said
    assert process.returncode != 0


@POSIX
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("plain \x1b[31mred\x1b]0;title\x07 end", [b"plain", b"red", b"end"]),
        slow("what is held back comes\x1b[3", [b"what", b"is", b"held", b"back", b"comes[3"]),
    ],
)
def test_on_a_terminal_a_models_text_cannot_drive_it(said: str, words: list[bytes]) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen([*RUN, "--model", "echo", said], stdin=subprocess.DEVNULL, stdout=theirs) as process:
        assert process.wait(timeout=30) == 0
    shown = os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)
    assert shown.split() == words
