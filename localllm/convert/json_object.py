"""An object of JSON out of a checkpoint, read strictly: what could be read in two ways is refused."""

import json
from collections import Counter
from pathlib import Path

from localllm.errors import LoadFailed
from localllm.models.files import read_small

AGAIN = "get the file again, or another checkpoint"
_MOST_ITEMS = 2**20  # a header of 65,536 tensors has half as many commas; an item takes up to some 100 bytes of memory


def read_object(path: Path, name: str, most_bytes: int) -> dict[str, object]:
    """The object in a small file that the checkpoint calls `name`. Raises LoadFailed, naming it."""
    return parse_object(read_bytes(path, name, most_bytes), name)


def read_bytes(path: Path, name: str, most_bytes: int) -> bytes:
    """All of a small file that the checkpoint calls `name`. Raises LoadFailed, naming it."""
    try:
        raw = read_small(path)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise LoadFailed(f"cannot read {name}: {error}; check the path and its permissions") from error
    if len(raw) > most_bytes:
        raise LoadFailed(f"{name} has {len(raw)} bytes, {most_bytes} are the most; {AGAIN}")
    return raw


def parse_object(raw: bytes, name: str) -> dict[str, object]:
    """The object that `raw` is. Raises LoadFailed, naming `name`: no UTF-8, no JSON, no object, a key that repeats."""
    if raw.count(b",") > _MOST_ITEMS:
        raise LoadFailed(f"{name} lists more than {_MOST_ITEMS} things; {AGAIN}")
    try:
        value: object = json.loads(raw.decode("utf-8"), object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, a number of 4300 digits
        raise LoadFailed(f"{name} cannot be read as JSON: {str(error)[:200]}; {AGAIN}") from error
    if not isinstance(value, dict):
        raise LoadFailed(f"{name} holds no JSON object; {AGAIN}")
    return value


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{repeated[:80]!r} stands twice in one object")
    return found
