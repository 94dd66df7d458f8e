"""Numbers that must be above zero, and that a float32 can hold."""

from localllm.convert.config import Config
from localllm.errors import LoadFailed

_LEAST, _MOST = 1e-30, 1e30


def is_positive(value: float) -> bool:
    """Whether it is such a number."""
    return _LEAST <= value <= _MOST


def positive(config: Config, key: str, default: float | None = None) -> float:
    """The number at `key`. Raises LoadFailed for one that is missing, not above zero or beyond float32."""
    value = config.number(key, default)
    if not is_positive(value):
        raise LoadFailed(f"config.json: {key} is {value}, which no model can work with; get the file again")
    return value
