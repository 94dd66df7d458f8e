"""The error tree: everything a user can cause or meet, each with a stable code.

LocalLLMError
├── InvalidRequest          what was asked cannot be done as asked; `param` names the field
│   ├── UnsupportedField    a field this model or engine does not honour
│   ├── ContextOverflow     the prompt does not fit the context
│   └── TemplateError       the chat template refuses these messages
├── ConfigError             the config file, an environment variable or an option
├── ModelError
│   ├── ModelNotFound       no such model, or it is not on this disk
│   ├── DownloadFailed      no source could deliver it
│   ├── IntegrityError      bytes that do not match their digest; a damaged store entry
│   ├── NoRoom              it does not fit, on the disk or in memory
│   └── LoadFailed          the engine refused the file
│       └── LoadKilled      its process was killed while it loaded it
├── EngineError             the engine failed while it worked
│   ├── WorkerDied          its process ended; the next request starts a new one
│   └── EngineUnavailable   the engine or its device is not installed or not usable here
├── QueueFull               too many requests wait already; `retry_seconds` says when to come again
├── RemoteError             another server answered with an error, or not at all
└── ServiceClosed           the program is shutting down

A message says what happened and, where something can be done, what to do next.
HTTP statuses live in `api/errors.py`, exit codes in `cli/exits.py`.
"""

from typing import ClassVar


class LocalLLMError(Exception):
    """Base of every error shown to a user. `code` is stable; scripts and clients may test it."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_seconds = retry_seconds  # when the same request may do better; None: who knows


class InvalidRequest(LocalLLMError):
    """The request cannot be carried out as written; `param` names the field at fault."""

    code = "invalid_request"


class UnsupportedField(InvalidRequest):
    """A field that the chosen model or engine does not honour."""

    code = "unsupported_parameter"


class ContextOverflow(InvalidRequest):
    """The prompt leaves no room in the context; nothing was cut."""

    code = "context_length_exceeded"


class TemplateError(InvalidRequest):
    """The model's chat template refuses these messages or is itself broken."""

    code = "template_error"


class ConfigError(LocalLLMError):
    """A setting is missing, unknown or out of range."""

    code = "config_error"


class ModelError(LocalLLMError):
    """Something about a model's files."""

    code = "model_error"


class ModelNotFound(ModelError):
    """No model by that name, or it is not on this disk."""

    code = "model_not_found"


class DownloadFailed(ModelError):
    """No source could deliver the model."""

    code = "download_failed"


class IntegrityError(ModelError):
    """Bytes that do not match their digest, or a damaged store entry."""

    code = "integrity_error"


class NoRoom(ModelError):
    """It does not fit, on the disk or in memory; the message says what would."""

    code = "no_room"


class LoadFailed(ModelError):
    """The engine refused the model file."""

    code = "load_failed"


class LoadKilled(LoadFailed):
    """The model's process was killed while it loaded, as a system does where memory runs out."""

    code = "load_killed"


class EngineError(LocalLLMError):
    """The engine failed while it worked."""

    code = "engine_error"


class WorkerDied(EngineError):
    """The model's process ended while a request ran; the next request starts a new one."""

    code = "worker_died"


class EngineUnavailable(EngineError):
    """The engine or its device is not installed or not usable on this machine."""

    code = "engine_unavailable"


class QueueFull(LocalLLMError):
    """As many requests wait as may; `retry_seconds` says when it is worth coming again."""

    code = "queue_full"


class RemoteError(LocalLLMError):
    """Another server answered with an error, or not at all."""

    code = "remote_error"


class ServiceClosed(LocalLLMError):
    """The program is shutting down."""

    code = "service_closed"


def _tree(root: type[LocalLLMError]) -> list[type[LocalLLMError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


_BY_CODE = {kind.code: kind for kind in _tree(LocalLLMError)}


def from_code(code: str, message: str, param: str | None = None, retry_seconds: float | None = None) -> LocalLLMError:
    """The error that `code` names, rebuilt on this side of a process boundary."""
    return _BY_CODE.get(code, LocalLLMError)(message, param=param, retry_seconds=retry_seconds)
