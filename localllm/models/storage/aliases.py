"""Aliases: short names that the user gave to references."""

import re
from pathlib import Path

import msgspec

from localllm.errors import IntegrityError, InvalidRequest, ModelNotFound
from localllm.models.files import disk_errors, make_folder, read_small, write_durably

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(?::[a-z0-9][a-z0-9._-]{0,63})?")


class Aliases:
    """What is in one small file. Whoever changes it holds the store's lock. All methods raise ModelError where the
    system refuses, and IntegrityError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, str]:
        """References by alias."""
        with disk_errors(f"read {self._path}"):
            try:
                data = read_small(self._path)
            except (FileNotFoundError, NotADirectoryError):
                return {}
        try:
            return msgspec.json.decode(data, type=dict[str, str])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"the aliases in {self._path} are damaged ({error}); mend or remove the file"
            ) from error

    def find(self, name: str) -> str | None:
        """What `name` stands for, if it is an alias."""
        return self.all().get(name.lower())

    def put(self, alias: str, reference: str) -> None:
        """Let `alias` stand for `reference`. Raises InvalidRequest for what can be no alias."""
        if not _ALIAS.fullmatch(alias):
            raise InvalidRequest(
                f"{alias[:80]!r} can be no alias; take lower-case letters, digits, and . _ - between them"
            )
        self._write(self.all() | {alias: reference})

    def drop(self, alias: str) -> None:
        """Forget an alias. Raises ModelNotFound."""
        kept = self.all()
        if kept.pop(alias.lower(), None) is None:
            raise ModelNotFound(f"there is no alias {alias[:80]!r}; see: localllm alias")
        self._write(kept)

    def _write(self, aliases: dict[str, str]) -> None:
        with disk_errors(f"write {self._path}"):
            make_folder(self._path.parent)
            write_durably(self._path, msgspec.json.format(msgspec.json.encode(dict(sorted(aliases.items()))), indent=2))
