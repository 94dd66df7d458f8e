"""Reading a header's metadata by type: what is missing is None, what has another type is refused by name."""

from localllm.errors import LoadFailed
from localllm.models.gguf.cursor import damaged
from localllm.models.gguf.metadata import ArrayInfo, Metadata, quoted


class Fields:
    """The metadata of one model. Every method raises LoadFailed, naming the key, for a value of another kind."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def text(self, key: str) -> str:
        """A string; "" where there is none."""
        value = self._metadata.get(key, "")
        if not isinstance(value, str):
            raise _wrong(key, "a string")
        return value

    def count(self, key: str) -> int | None:
        """A whole number from 0 on."""
        value = self._metadata.get(key)
        return None if value is None else _natural(key, value, "a whole number from 0 on")

    def counts(self, key: str) -> int | tuple[int, ...] | None:
        """A whole number from 0 on, or several, one for each layer. Bools among several count as 0 and 1."""
        value = self._metadata.get(key)
        if not isinstance(value, ArrayInfo):
            return None if value is None else _natural(key, value, "a whole number from 0 on, or several")
        if value.items is None:
            raise _wrong(key, "a whole number for each layer")
        plain = [int(item) if isinstance(item, bool) else item for item in value.items]
        return tuple(_natural(key, item, "whole numbers from 0 on") for item in plain)


def _natural(key: str, value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(key, what)
    return value


def _wrong(key: str, what: str) -> LoadFailed:
    return damaged(f"the value of {quoted(key)} is not {what}")
