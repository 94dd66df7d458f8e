"""`localllm bench` as a script sees it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from localllm.runtime.measurements import FILE
from tests.cli.racing import racing
from tests.cli.shell import Shell
from tests.marks import slow
from tests.processes import LOCALLLM, Done, localllm, serving

__all__ = ["racing"]


def bench(*arguments: str) -> Done:
    return localllm("bench", *arguments)


def test_a_model_on_this_machine() -> None:
    result = bench("--model", "echo", "--json", "--repeats", "1", "--prompt-tokens", "40", "--answer-tokens", "10")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["model"] == "echo"
    assert told["prompt_tokens"] > 40
    for name in ("load_seconds", "prefill_rate", "decode_rate", "peak_memory_bytes"):
        assert told[name] > 0
    assert 0 < told["python_share"] < 1


@pytest.mark.slow
def test_the_table_for_people() -> None:
    result = bench("--model", "echo", "--repeats", "1", "--prompt-tokens", "40", "--answer-tokens", "10")
    assert result.returncode == 0, result.stderr
    for word in ("prefill", "decode", "first token, cold", "first token, warm", "load", "peak memory"):
        assert word in result.stdout


def test_engines_side_by_side(racing: Path, shell: Shell, clean_environment: Path) -> None:
    arguments = ("bench", "--model", "echo", "--engine", "echo", "--engine", "quick", "--engine", "echo")
    told = shell.ok(*arguments, "--json").json
    assert told["model"] == "echo"
    assert [row["engine"]["engine"] for row in told["engines"]] == ["echo", "quick"]
    assert all(set(row["rates"]) == {"chat", "reading", "serving"} for row in told["engines"])
    assert {name: set(choice) for name, choice in told["choices"].items()} == {
        name: {"engine", "reason", "left_out"} for name in ("chat", "reading", "serving")
    }
    entries = json.loads((clean_environment / FILE).read_bytes())["entries"]
    rates = {entry["subject"]["engine"]: entry["rates"] for entry in entries}
    assert rates == {row["engine"]["engine"]: row["rates"] for row in told["engines"]}


def test_engines_in_a_table_for_people(racing: Path, shell: Shell) -> None:
    told = shell("bench", "--model", "echo", "--engine", "quick", "--engine", "refusing")
    assert told.code == 5
    assert [row[0] for row in told.rows] == ["ENGINE", "quick"]
    assert "no such layer" in told.err
    assert "Measuring quick with echo" in told.err


@pytest.mark.slow
def test_auto_measures_all_that_could_run_it(racing: Path, shell: Shell) -> None:
    told = shell.ok("bench", "--model", "echo", "--engine", "auto")
    assert [row[0] for row in told.rows if row][:2] == ["ENGINE", "quick"]
    assert "no such layer" in told.err
    assert "foreign" not in told.out + told.err
    assert "\nserving: " in told.out


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_while_an_engine_is_measured_leaves_nothing_half_done(racing: Path, clean_environment: Path) -> None:
    command = [*LOCALLLM, "bench", "--model", "echo", "--engine", "quick", "--engine", "slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Measuring slow"):
                break
        deadline = time.monotonic() + 60
        while not (workers := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in said
    assert workers
    assert not any(worker.is_running() for worker in workers)
    entries = json.loads((clean_environment / FILE).read_bytes())["entries"]
    assert [entry["subject"]["engine"] for entry in entries] == ["quick"]
    assert not list(clean_environment.glob("*.part"))


@pytest.mark.slow
def test_two_servers_side_by_side() -> None:
    with serving("--model", "echo") as one, serving("--model", "echo:400") as other:
        urls = ("--url", f"fast={one.url}", "--url", f"slow={other.url}")
        result = bench(*urls, "--streams", "1,2", "--repeats", "1", "--answer-tokens", "20")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["1", "fast"], ["1", "slow"], ["2", "fast"], ["2", "slow"]]
    assert all(float(row[3]) < 1 for row in rows if row[1] == "slow")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        slow(("--url", "http://127.0.0.1:9/v1"), 1, "is the server running"),
        (("--url", "http://127.0.0.1:9/v1", "--streams", "a"), 2, "--streams"),
        slow(("--engine", "echo", "--repeats", "2"), 2, "--repeats does not go with --engine"),
        slow(("--engine", "echo", "--url", "http://127.0.0.1:9/v1"), 2, "--url does not go with --engine"),
        (("--model", "echo", "--engine", "tpu"), 2, "there is no engine 'tpu'"),
        slow(("--model", "echo", "--engine", "llama_cpp"), 2, "llama_cpp does not run echo, whose format is echo"),
        slow(("--model", "nobody"), 3, "nobody"),
    ],
)
def test_mistakes_are_said_in_a_line(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = bench(*arguments)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
