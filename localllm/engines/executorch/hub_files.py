"""The small files that a repository of the hub has beside a model, read within bounds, with errors that name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from localllm.errors import LoadFailed
from localllm.units import size_words

AGAIN = "get the file again, or another model"

_MIB = 1024 * 1024
_MOST_BYTES = {"tokenizer.json": 256 * _MIB}  # the largest known has 33 MB (Gemma 3)
_MOST_BYTES_ELSEWHERE = 8 * _MIB

Kind = TypeVar("Kind")


class HubFiles:
    """Files by the names that a repository has them under. Every reading method may raise LoadFailed."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = {name: Path(path) for name, path in paths.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def text(self, name: str) -> str:
        """A whole file of UTF-8."""
        most = _MOST_BYTES.get(name, _MOST_BYTES_ELSEWHERE)
        path = self._paths[name]
        try:
            if not path.is_file():  # a pipe would never end
                raise LoadFailed(f"{name} is missing or no file ({path}); {AGAIN}")
            with path.open("rb") as file:
                data = file.read(most + 1)
        except (OSError, ValueError) as error:  # ValueError: NUL in the path
            raise LoadFailed(f"cannot read {name}: {error}; check the path and its permissions") from error
        if len(data) > most:
            raise LoadFailed(f"{name} has more than {size_words(most)}, as no tokenizer has; {AGAIN}")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadFailed(f"{name} is not UTF-8 (byte {error.start}); {AGAIN}") from error

    def document(self, name: str, kind: type[Kind]) -> Kind | None:
        """A JSON file as `kind`, or None where there is no such file."""
        return parse(self.text(name), kind, name) if name in self else None


def parse(data: str | msgspec.Raw, kind: type[Kind], name: str) -> Kind:
    """JSON as `kind`; `name` is what an error calls it. Raises LoadFailed."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadFailed(f"{name} is not as it should be: {error}; {AGAIN}") from error
