"""The compiled library of a model, for one kind of device: found in MLC's cache, or compiled, which takes minutes.

A process of its own does it (`library_process.py`), so that a compiler that fails leaves its last words, and one that
takes long can be ended. Where MLC keeps libraries and whether it may compile is for its own environment variables to
say: MLC_LLM_HOME, MLC_JIT_POLICY.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Struct

from localllm.config import worker_environment
from localllm.engines.mlc.last_words import last_words
from localllm.errors import EngineUnavailable, LoadFailed, from_code

_LAST_WORDS_BYTES = 8192


class LibraryOrder(Struct, frozen=True, kw_only=True):
    """What to find."""

    folder: str  # of the model
    device: str  # auto, or a name such as cuda:1
    model_lib: str = ""  # the library, where it is there already: only the device is looked for


class Library(Struct, frozen=True, kw_only=True, tag="library"):
    """What was found."""

    kind: str  # of device, such as cuda
    index: int  # of the device among its kind
    path: str
    build: str = ""  # of MLC LLM

    @property
    def device(self) -> str:
        """As MLC calls it."""
        return f"{self.kind}:{self.index}"


class LibraryFault(Struct, frozen=True, kw_only=True, tag="fault"):
    """Why there is none."""

    code: str  # of a LocalLLMError
    message: str


def find_library(order: LibraryOrder) -> Library:
    """Find it, or have it compiled. Nothing of the compiler is left running, however this ends.

    Raises ConfigError, EngineUnavailable where MLC or the device is not here, LoadFailed with the compiler's words.
    """
    with tempfile.TemporaryFile() as words:
        child = subprocess.Popen(
            (sys.executable, "-P", "-m", "localllm.engines.mlc.library_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env=worker_environment() | {"PYTHONSAFEPATH": "1"},  # MLC starts modules from the current folder
            start_new_session=True,  # the compiler is a process behind it; see library_process.py
        )
        try:
            answer = _answer(child, order)
        finally:
            _end(child)
        if isinstance(answer, Library):
            return answer
        raise _error(answer, _told(words))


def _answer(child: "subprocess.Popen[bytes]", order: LibraryOrder) -> Library | LibraryFault:
    if child.stdin is None or child.stdout is None:
        raise EngineUnavailable("the process that looks for MLC's library has no pipes")
    with suppress(OSError):  # it has ended already, which shows below
        child.stdin.write(msgspec.json.encode(order) + b"\n")
        child.stdin.flush()
    line = child.stdout.readline()
    try:
        return msgspec.json.decode(line, type=Library | LibraryFault)
    except msgspec.MsgspecError:
        status = child.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return LibraryFault(code=LoadFailed.code, message=f"the process that compiles for MLC ended ({how})")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """It ends when its stdin does, and takes the compiler along."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()


def _error(fault: LibraryFault, words: str) -> Exception:
    is_of_compiler = fault.code == LoadFailed.code and words
    return from_code(fault.code, f"{fault.message}; its last words: {words}" if is_of_compiler else fault.message)


def _told(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _LAST_WORDS_BYTES))
    return last_words(file.read().splitlines())
