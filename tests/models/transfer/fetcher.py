"""Fetch in a process of its own, which can be killed: python -m tests.models.transfer.fetcher URL PATH SHA256 SIZE."""

import sys
from pathlib import Path

from localllm.models.digest import Digest
from localllm.models.transfer.address import Location
from localllm.models.transfer.expected import Expected
from localllm.models.transfer.fetch import fetch
from localllm.models.transfer.options import FetchOptions
from localllm.models.transfer.part import PartFile


def main() -> int:
    """Returns the exit code."""
    url, path, sha256, size = sys.argv[1:]
    expected = Expected(size_bytes=int(size), sha256=Digest(sha256))
    try:
        with PartFile(Path(path), expected) as part:
            fetch(lambda: Location(url=url), part, FetchOptions(), lambda done: print(f"bytes {done}", flush=True))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
