"""The workbench: a folder beside the store for what is made on the way, and the steps that work in it."""

import hashlib
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from localllm.errors import LocalLLMError, from_code
from localllm.models.disk_space import check_room
from localllm.models.files import PRIVATE_FOLDER, alias, disk_errors, make_folder
from localllm.models.storage.store import Store
from localllm.quantize.material import Material
from localllm.quantize.process.workshop import run_step
from localllm.quantize.steps import AskBuild, Build, Convert, Converted, Progress, Result, Step

Kind = TypeVar("Kind", bound=Result)
Observe = Callable[[str, Progress], None]  # what is being done, in words, and how far it is


class Workbench:
    """A folder of its own, gone at the end. Each step runs in a process of its own and is told about to `observe`."""

    def __init__(self, folder: Path, threads: int, observe: Observe) -> None:
        self.folder = folder
        self.threads = threads
        self._observe = observe
        self._names: dict[str, str] = {}

    @cached_property
    def build(self) -> Build:
        """What the native library is. Raises EngineError."""
        return self.do("Asking for the build of llama.cpp", AskBuild(), Build)

    def path(self, name: str) -> Path:
        """Where something is made."""
        return self.folder / name

    def do(self, words: str, step: Step, kind: type[Kind]) -> Kind:
        """Do a step; `words` tell what it is. Raises what the step raises, in the user's names for files."""
        self._observe(words, Progress(0, 1))

        def tell(progress: Progress) -> None:
            self._observe(f"{words}: {progress.stage}" if progress.stage else words, progress)

        try:
            return run_step(step, kind, tell)
        except LocalLLMError as error:
            raise self._in_their_names(error) from error

    def call(self, path: Path, name: str) -> None:
        """What errors call a file that has a name only we know: a blob, or what is made on the way."""
        self._names[str(path)] = name

    def keep_text(self, name: str, text: str, called: str = "") -> Path:
        """A text as a file that a step can read, and what errors call it. Raises NoRoom, ModelError."""
        path = self.path(name)
        self.call(path, called or name)
        with disk_errors(f"write {path}"):
            path.write_text(text, "utf-8", newline="")
        return path

    def require_room(self, needed_bytes: int) -> None:
        """Raises NoRoom if what is to be made does not fit."""
        check_room(self.folder, needed_bytes)

    def convert(self, material: Material, target: Path, *, type_: str, name: str, metadata: Mapping[str, str]) -> None:
        """A checkpoint to a GGUF. Raises LoadFailed, NoRoom, ModelError."""
        step = Convert(
            files={name: str(path) for name, path in material.files.items()},
            target=str(target),
            type=type_,
            name=name,
            metadata=dict(metadata),
        )
        self.call(target, material.reference)
        self.do("Converting", step, Converted)

    def opened(self, material: Material) -> Path:
        """A GGUF so that the native library can open it: its first file, and the others beside that under their own
        names. Raises NoRoom, ModelError."""
        parts = {name: path for name, path in material.files.items() if name.endswith(".gguf")}
        places = list(parts.values())
        if len(places) > 1:
            folder = self.path("parts")
            with disk_errors(f"write to {folder}"):
                folder.mkdir()
                places = [alias(path, folder / name) for name, path in parts.items()]
        for name, place in zip(parts, places, strict=True):
            self.call(place, name if len(places) > 1 else material.reference)
        return places[0]

    def _in_their_names(self, error: LocalLLMError) -> LocalLLMError:
        message = error.message
        for path, name in self._names.items():
            message = message.replace(path, name)
        return from_code(error.code, message, error.param, error.retry_seconds)


@contextmanager
def workbench(store: Store, purpose: str, threads: int, observe: Observe) -> Generator[Workbench, None, None]:
    """A workbench on the disk of the store. Two processes with the same purpose wait for each other.

    Whatever happens, nothing of it stays; of a process that was killed, `gc` and the next one with its purpose clear
    it away. Raises ModelError, NoRoom.
    """
    key = f"quantize-{hashlib.sha256(purpose.encode()).hexdigest()[:32]}"
    folder = store.part_path(key).with_suffix("")
    waiting = f"Waiting for another process that makes something of {purpose}"
    with store.locks.hold([key], lambda _: observe(waiting, Progress(0, 1))):
        with disk_errors(f"create {folder}"):
            shutil.rmtree(folder, ignore_errors=True)
            make_folder(folder.parent)
            folder.mkdir(mode=PRIVATE_FOLDER)
        try:
            yield Workbench(folder, threads, observe)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot go now, `gc` finds
