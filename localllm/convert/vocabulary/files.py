"""The tokenizer files of a checkpoint, read within bounds and with errors that name the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from localllm.convert.json_object import AGAIN
from localllm.errors import LoadFailed
from localllm.units import size_words

Kind = TypeVar("Kind")

_MIB = 1024 * 1024
_MOST_BYTES = {"tokenizer.json": 64 * _MIB, "tokenizer.model": 32 * _MIB}  # the largest known: 33 and 5 MB (Gemma 3)
_MOST_BYTES_ELSEWHERE = 8 * _MIB


class TokenizerFiles:
    """Files by the names that the checkpoint knows them by. Every reading method may raise LoadFailed."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def data(self, name: str) -> bytes:
        """A whole file, which may be as large as files of its kind become."""
        most = _MOST_BYTES.get(name, _MOST_BYTES_ELSEWHERE)
        path = self._paths[name]
        try:
            if not path.is_file():  # a pipe would never end
                raise LoadFailed(f"{name} is no file; {AGAIN}")
            with path.open("rb") as file:
                data = file.read(most + 1)
        except (OSError, ValueError) as error:  # ValueError: NUL in the path
            raise LoadFailed(f"cannot read {name}: {error}; check the path and its permissions") from error
        if len(data) > most:
            raise LoadFailed(f"{name} has more than {size_words(most)}, as no tokenizer has; {AGAIN}")
        return data

    def text(self, name: str) -> str:
        """A whole file of UTF-8."""
        try:
            return self.data(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadFailed(f"{name} is not UTF-8 (byte {error.start}); {AGAIN}") from error

    def document(self, name: str, kind: type[Kind]) -> Kind | None:
        """A JSON file as `kind`, or None where the checkpoint has no such file."""
        return parse(self.data(name), kind, name) if name in self else None


def parse(data: bytes | msgspec.Raw, kind: type[Kind], name: str) -> Kind:
    """JSON as `kind`; `name` is what an error calls it. Raises LoadFailed."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadFailed(f"{name} is not as it should be: {error}; {AGAIN}") from error
