"""`localllm bench` as a script sees it."""

import json

import pytest

from tests.marks import slow
from tests.processes import Done, localllm, serving


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
        slow(("--model", "nobody"), 3, "nobody"),
    ],
)
def test_mistakes_are_said_in_a_line(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = bench(*arguments)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
