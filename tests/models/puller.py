"""Pull in a process of its own: python -m tests.models.puller CARD HOME; prints one line for each step.

A real process reads HF_ENDPOINT as users' processes do, and can be killed.
"""

import sys
from pathlib import Path

from localllm.errors import LocalLLMError
from localllm.models.card import read_card
from localllm.models.pull import pull
from localllm.models.store import Store


def main() -> int:
    """Returns the exit code."""
    card, home = sys.argv[1:]
    print("start", flush=True)
    try:
        manifest = pull(read_card(Path(card)), Store(Path(home)), _report)
    except LocalLLMError as error:
        print(f"failed {error.code}: {error.message}", flush=True)
        return 1
    print(f"from {manifest.source}", flush=True)
    return 0


def _report(_source: str, done: int, _total: int) -> None:
    print(f"bytes {done}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
