"""The small files that lie beside a model's weights, read within bounds, with errors that name them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from localllm.errors import LoadFailed
from localllm.units import size_words

Kind = TypeVar("Kind")

_MIB = 2**20
_MOST_BYTES_ELSEWHERE = 8 * _MIB
_NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class ModelFiles:
    """Files by the names that a repository has them under. Every reading method may raise LoadFailed."""

    def __init__(
        self, paths: Mapping[str, str] | Mapping[str, Path], *, again: str, most_bytes: Mapping[str, int] = _NO_LIMITS
    ) -> None:
        """`again` is what to do where a file is wrong, `most_bytes` how large those may be that may exceed 8 MiB."""
        self.again = again
        self._paths = {name: Path(path) for name, path in paths.items()}
        self._most_bytes = most_bytes

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def data(self, name: str) -> bytes:
        """A whole file, which may be as large as files of its kind become."""
        most = self._most_bytes.get(name, _MOST_BYTES_ELSEWHERE)
        if name not in self:
            raise LoadFailed(f"there is no {name}; {self.again}")
        path = self._paths[name]
        try:
            if not path.is_file():  # a pipe would never end
                raise LoadFailed(f"{name} is missing or no file ({path}); {self.again}")
            with path.open("rb") as file:
                data = file.read(most + 1)
        except (OSError, ValueError) as error:  # ValueError: NUL in the path
            raise LoadFailed(f"cannot read {name}: {error}; check the path and its permissions") from error
        if len(data) > most:
            raise LoadFailed(f"{name} has more than {size_words(most)}, as none has; {self.again}")
        return data

    def text(self, name: str) -> str:
        """A whole file of UTF-8."""
        try:
            return self.data(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadFailed(f"{name} is not UTF-8 (byte {error.start}); {self.again}") from error

    def document(self, name: str, kind: type[Kind]) -> Kind | None:
        """A JSON file as `kind`, or None where there is no such file."""
        return parse(self.data(name), kind, name, again=self.again) if name in self else None


def parse(data: str | bytes | msgspec.Raw, kind: type[Kind], name: str, *, again: str) -> Kind:
    """JSON as `kind`; `name` is what an error calls it. Raises LoadFailed."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadFailed(f"{name} is not as it should be: {error}; {again}") from error
