"""What goes wrong in torch and ExecuTorch, as one line."""

from collections.abc import Generator
from contextlib import contextmanager

from localllm.engines.executorch.native import INSTALL
from localllm.errors import EngineError, EngineUnavailable, LocalLLMError, NoRoom

_LIBRARIES = {"torch", "torchao", "executorch", "pytorch_tokenizers"}
_MOST_CHARS = 300


@contextmanager
def engine_faults() -> Generator[None, None, None]:
    """Raises EngineUnavailable where a library is missing, NoRoom for memory, EngineError for everything else."""
    try:
        yield
    except (LocalLLMError, MemoryError):
        raise
    except ImportError as error:
        raise _unavailable(error) from error
    except Exception as error:
        text = _line(error)
        if "DefaultCPUAllocator" in text:  # torch says so by a RuntimeError
            raise NoRoom("there is not enough memory to export this model; close other programs") from error
        raise EngineError(f"ExecuTorch could not export this model: {text}") from error


def _unavailable(error: ImportError) -> EngineUnavailable:
    if (error.name or "").partition(".")[0] in _LIBRARIES:
        return EngineUnavailable(f"exporting needs ExecuTorch, which is not installed here; install it: {INSTALL}")
    return EngineUnavailable(f"ExecuTorch cannot be used here: {_line(error)}; install it again: {INSTALL}")


def _line(error: Exception) -> str:
    """The message on one line, not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_CHARS]
