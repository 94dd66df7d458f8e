"""The batcher's decode loop in this process, and llama-batched-bench: `scripts/bench --scenario loop` runs both.

By itself it measures ours once, for the path, streams, threads (0: our choice) and answer tokens given, and prints
tokens a second.
"""

import random
import subprocess
import sys

import msgspec
from msgspec import Struct

from localllm.engines.job import Job
from localllm.engines.plan import LoadPlan
from localllm.engines.registry import load_runner
from localllm.inference.batcher import Batcher
from localllm.types import Sampling, Usage

PROMPT_TOKENS = 64
SLOTS = 16
HEADROOM_TOKENS = 192  # that the first streams may decode while the last one's prompt is read
FLAGS = tuple(f"{kv} -fa {attention}" for kv in ("-no-kvu", "-kvu") for attention in ("on", "off"))


def our_rate(path: str, streams: int, threads: int, answer_tokens: int) -> float:
    """Tokens a second of all streams while the one that began last decodes `answer_tokens`: the others began
    before it and end after it. No guessing ahead: a batcher without a drafter does none."""
    context = PROMPT_TOKENS + answer_tokens + HEADROOM_TOKENS
    plan = LoadPlan(engine="llama_cpp", path=path, context_tokens=context, max_jobs=SLOTS, threads=threads or None)
    batcher = Batcher(load_runner(plan, lambda _: None))
    source = random.Random()  # noqa: S311  prompts, not secrets
    for number in range(1, streams + 1):
        extra = 0 if number == streams else HEADROOM_TOKENS - 1
        sampling = Sampling(temperature=0.0, ignore_eos=True, max_tokens=1 + answer_tokens + extra)
        tokens = tuple(source.randrange(1000, 20000) for _ in range(PROMPT_TOKENS))
        batcher.start(Job(id=number, tokens=tokens, sampling=sampling))
    usage = _first_to_end(batcher, streams)
    batcher.close()
    return streams * answer_tokens / usage.decode_seconds


def _first_to_end(batcher: Batcher, expected: int) -> Usage:
    while batcher.is_busy:
        for delta in batcher.step():
            if delta.usage is not None:
                if delta.job_id != expected or delta.usage.drafted_tokens:
                    raise SystemExit("bench: the streams did not all decode one token a step to the end")
                return delta.usage
    raise SystemExit("bench: no stream ended")


def our_command(path: str, streams: int, threads: int, answer_tokens: int) -> list[str]:
    """The same in a process of its own, as a model's worker is."""
    return [sys.executable, __file__, path, *map(str, (streams, threads, answer_tokens))]


class _Line(Struct):
    speed_tg: float


def batched_bench_rate(binary: str, path: str, streams: int, threads: int, answer_tokens: int, flags: str) -> float:
    """Decode speed as llama-batched-bench measures it."""
    context = 256 * streams * -(-(PROMPT_TOKENS + answer_tokens) // 256)
    options = f"-c {context} -b 2048 -ub 512 -npp {PROMPT_TOKENS} -ntg {answer_tokens} -npl {streams} -t {threads}"
    command = [binary, "-m", path, *options.split(), "-ngl", "0", *flags.split(), "--output-format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"bench: llama-batched-bench {flags} failed: {done.stderr[-1000:]}")
    return msgspec.json.decode(lines[-1], type=_Line).speed_tg


if __name__ == "__main__":
    print(our_rate(sys.argv[1], *map(int, sys.argv[2:])))
