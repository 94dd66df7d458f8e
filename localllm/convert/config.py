"""config.json: a checkpoint's own description of its model, read with errors that name the key."""

import sys
from collections.abc import Mapping
from typing import TypeGuard

from localllm.errors import LoadFailed

_TEXT_PART = "text_config"  # of models that also see or hear


class Config:
    """The values of a config.json; those of a text model inside it win over the outer ones.

    Every method raises LoadFailed, naming the key, for a value that is not of the kind it should be, and where a key
    without a `default` is missing. null counts as missing.
    """

    def __init__(self, values: Mapping[str, object], *, name: str = "config.json") -> None:
        inner = values.get(_TEXT_PART)
        self._values = {**values, **inner} if isinstance(inner, Mapping) else dict(values)
        self._classes = values.get("architectures")
        self._name = name

    @property
    def model_class(self) -> str:
        """The class of transformers that the checkpoint is of, such as LlamaForCausalLM."""
        classes = self._classes
        if not (isinstance(classes, list) and classes and isinstance(classes[0], str)):
            raise LoadFailed(f"{self._name} names no architecture, so it is not known what kind of model this is")
        return classes[0]

    def has(self, key: str) -> bool:
        """Whether there is a value."""
        return self._values.get(key) is not None

    def is_null(self, key: str) -> bool:
        """Whether it says null, which classes may tell from a key that is left out."""
        return key in self._values and self._values[key] is None

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number from 1 on."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise self._wrong(key, value, "a whole number from 1 on")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._value(key, default)
        if not _is_number(value):
            raise self._wrong(key, value, "a number")
        return float(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def numbers(self, key: str) -> list[float]:
        """A list of finite numbers."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self._wrong(key, value, "a list of numbers")
        return [float(item) for item in value]

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, value, "a list of texts")
        return list(value)

    def part(self, key: str) -> "Config | None":
        """An object inside, or None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "an object")
        return Config(value, name=f"{self._name}: {key}")

    def _value(self, key: str, default: object) -> object:
        value = self._values.get(key)
        if value is None:
            value = default
        if value is None:
            raise LoadFailed(f"{self._name} lacks {key}; get the file again, or another checkpoint")
        return value

    def _wrong(self, key: str, value: object, kind: str) -> LoadFailed:
        return LoadFailed(f"{self._name}: {key} is {str(value)[:80]!r}, not {kind}")


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # false for NaN; an integer may be larger than any double
