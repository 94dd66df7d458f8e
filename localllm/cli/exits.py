"""Exit codes."""

from localllm import errors

OK = 0
FAILED = 1  # an error that none of the others names
USAGE = 2  # the command line, a setting or the request is wrong
NOT_FOUND = 3  # no such model
DOWNLOAD = 4  # it could not be fetched, or the bytes were wrong
ENGINE = 5  # the engine refused the model or failed
NO_ROOM = 6  # it does not fit, on the disk or in memory
INTERRUPTED = 130  # Ctrl-C

_CODES: list[tuple[type[errors.LocalLLMError], int]] = [  # the first match counts
    (errors.InvalidRequest, USAGE),
    (errors.ConfigError, USAGE),
    (errors.ModelNotFound, NOT_FOUND),
    (errors.DownloadFailed, DOWNLOAD),
    (errors.IntegrityError, DOWNLOAD),
    (errors.NoRoom, NO_ROOM),
    (errors.LoadFailed, ENGINE),
    (errors.EngineError, ENGINE),
]


def exit_code(error: errors.LocalLLMError) -> int:
    """The exit code for an error of ours."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
