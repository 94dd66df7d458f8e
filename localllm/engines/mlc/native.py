"""MLC LLM's package: finding it, importing it, and as much of its interface as is used here.

Read in mlc-ai/mlc-llm: python/mlc_llm/serve/engine.py, serve/config.py, protocol/openai_api_protocol.py.
"""

import importlib
import importlib.util
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol, cast

from msgspec import Struct

from localllm.errors import EngineUnavailable

REMEDY = "the wheels of the MLC project: https://llm.mlc.ai/docs/install/mlc_llm.html"
NOT_INSTALLED = "MLC LLM is not installed"
_PACKAGE = "mlc_llm"
_MOST_REASON_CHARACTERS = 300


class Usage(Protocol):
    """What an answer cost. `extra` has the measurements of the request, by name."""

    prompt_tokens: int
    completion_tokens: int  # the token that ended the answer among them
    extra: Mapping[str, object] | None


class Choice(Protocol):
    """More of an answer."""

    text: str
    finish_reason: str | None


class Chunk(Protocol):
    """One piece of a stream; the last has no choices, but `usage`."""

    choices: Sequence[Choice]
    usage: Usage | None


class Completions(Protocol):
    """Texts to continue."""

    async def create(self, **request: object) -> AsyncGenerator[Chunk, None]:
        """A stream, with stream=True. Raises what pydantic says of the request."""
        ...


class EngineLimits(Protocol):
    """What the engine has made of the settings that it was given."""

    max_num_sequence: int
    max_single_sequence_length: int
    max_total_sequence_length: int


class NativeEngine(Protocol):
    """AsyncMLCEngine."""

    completions: Completions
    engine_config: EngineLimits

    def terminate(self) -> None:
        """End its threads."""
        ...


class NativeDevice(Protocol):
    """A device of TVM, whether it is there or not."""

    exist: bool


class Native(Struct, frozen=True):
    """What of the package is used."""

    build: str
    engine: Callable[..., NativeEngine]
    engine_config: Callable[..., object]
    device: Callable[[str, int], NativeDevice]


def is_installed() -> bool:
    """Whether there is such a package; whether it can be imported is another matter."""
    return importlib.util.find_spec(_PACKAGE) is not None


def require_installed() -> None:
    """Raises EngineUnavailable, with what to do, where it is not installed."""
    if not is_installed():
        raise EngineUnavailable(f"{NOT_INSTALLED}; get {REMEDY}")


def open_native() -> Native:
    """Import it. Raises EngineUnavailable where that fails, with the words of the failure."""
    require_installed()
    try:
        package = importlib.import_module(_PACKAGE)
        serve = importlib.import_module(f"{_PACKAGE}.serve")
        tvm = importlib.import_module("tvm")
        return Native(
            build=f"mlc_llm {getattr(package, '__version__', 'unknown')}",
            engine=cast(Callable[..., NativeEngine], serve.AsyncMLCEngine),
            engine_config=cast(Callable[..., object], serve.EngineConfig),
            device=cast(Callable[[str, int], NativeDevice], tvm.device),
        )
    except Exception as error:  # a library that is missing or does not fit says so in many ways
        raise EngineUnavailable(f"MLC LLM cannot be imported: {failure_words(error)}; get {REMEDY}") from error


def failure_words(error: BaseException) -> str:
    """The kind of a foreign error and what it says, in one line."""
    words = " ".join(str(error).split())[:_MOST_REASON_CHARACTERS]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
