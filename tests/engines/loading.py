"""Loading what may end the process, in one that may end: `python -m tests.engines.loading` with plans on stdin."""

import subprocess
import sys
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from localllm.engines.plan import LoadPlan

_STEPS = 3
_SECONDS = 100


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a load: an error of ours, or greedy tokens from a runner that works."""

    name: str
    error: str = ""  # the class
    message: str = ""
    tokens: list[int] = []


def outcomes(plans: Mapping[str, LoadPlan]) -> dict[str, Outcome]:
    """Load all of them in one child. Those that it did not come to, for it had died, are not in the result."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.loading"],
        input=msgspec.json.encode(plans),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    found = [msgspec.json.decode(line, type=Outcome) for line in done.stdout.splitlines()]
    if done.returncode:
        missing = [name for name in plans if name not in {outcome.name for outcome in found}]
        print(f"the child ended with {done.returncode} at {missing[:1]}: {done.stderr[-2000:].decode()}")
    return {outcome.name: outcome for outcome in found}


def main() -> None:
    """Answer each plan with a line of JSON."""
    for name, plan in msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, LoadPlan]).items():
        print(msgspec.json.encode(_outcome(name, plan)).decode(), flush=True)


def _outcome(name: str, plan: LoadPlan) -> Outcome:
    from localllm.engines.base import Batch
    from localllm.engines.registry import load_runner
    from localllm.errors import LocalLLMError

    try:
        runner = load_runner(plan, lambda _: None)
        tokens: list[int] = []
        batch = Batch(8)
        for position in range(_STEPS):
            batch.clear()
            batch.add(0, position, tokens[-1:] or [7], logits=1)
            tokens.append(int(runner.decode(batch)[0].argmax()))
        runner.close()
    except LocalLLMError as error:
        return Outcome(name=name, error=type(error).__name__, message=error.message)
    return Outcome(name=name, tokens=tokens)


if __name__ == "__main__":
    main()
