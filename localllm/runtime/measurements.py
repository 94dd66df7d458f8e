"""What engines were measured to do on this machine, remembered in a file of the home."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.devices.cpu import processor_name, usable_cores
from localllm.errors import LocalLLMError
from localllm.models.files import disk_errors, make_folder, read_small, write_durably
from localllm.models.local import LocalModel
from localllm.models.storage.locks import Locks
from localllm.types import Workload

VERSION = 1  # of the file's format
FILE = "measurements.json"
MOST_ENTRIES = 200
DOUBT_SECONDS = 24 * 3600.0  # after which what went wrong, or was done on a busy machine, is tried again
_WRITING, _MEASURING = "measurements", "measuring"  # names of locks

Rate = Annotated[float, Meta(gt=0)]
Warn = Callable[[str], None]


class Subject(Struct, frozen=True, kw_only=True):
    """What was measured, by all that its speed depends on."""

    model: str  # its identity
    engine: str
    build: str  # of the engine's package
    device: str  # as it was asked for; empty: the engine's own choice
    threads: int | None  # likewise
    setup: str = ""  # other settings of the load, in words; empty: none
    machine: str = ""  # processor and cores


class Measured(Struct, frozen=True, kw_only=True):
    """Tokens a second of one subject at each kind of work, or why there are none."""

    subject: Subject
    name: str  # the model's, for people
    measured_at: int  # Unix time
    rates: dict[Workload, Rate] = {}
    streams: int = 0  # answers at once in the rate of serving
    device: str = ""  # that the engine took
    is_doubtful: bool = False  # other programs kept the machine busy
    fault: str = ""  # why it could not be measured

    @property
    def holds(self) -> bool:
        """Whether it is still to be believed."""
        return not (self.fault or self.is_doubtful) or 0 <= time.time() - self.measured_at < DOUBT_SECONDS


class _File(Struct, frozen=True, kw_only=True):
    version: int
    entries: list[Measured]


class _Version(Struct, frozen=True):
    version: int


class MeasurementFile:
    """The figures of one home. Several processes may use it at once.

    A file that is damaged, of another format, or that cannot be read or written is a warning and never an error:
    figures can be measured again.
    """

    def __init__(self, home: Path, warn: Warn) -> None:
        self._path = home / FILE
        self._locks = Locks(home / "locks")
        self._tell = warn
        self._told: set[str] = set()

    def recall(self, subject: Subject) -> Measured | None:
        """What was found for it, if it still holds."""
        found = next((entry for entry in self.entries() if entry.subject == subject), None)
        return found if found is not None and found.holds else None

    def remember(self, measured: Measured) -> None:
        """Keep it in the place of what was known; the oldest entries go where there are too many."""

        def change(entries: list[Measured]) -> list[Measured]:
            return [*(entry for entry in entries if entry.subject != measured.subject), measured]

        self._change(change)

    def entries(self) -> list[Measured]:
        """All of them, the oldest first."""
        try:
            data = read_small(self._path)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._warn(f"the figures in {self._path} cannot be read ({error}); they are measured again")
            return []
        try:
            version = msgspec.json.decode(data, type=_Version).version
            if version == VERSION:
                return msgspec.json.decode(data, type=_File).entries
            reason = f"is of format {version}, not {VERSION}"
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            reason = f"is damaged ({error})"
        self._warn(f"{self._path} {reason}; what engines were measured to do is measured again")
        return []

    def forget(self, model: str | None = None) -> int:
        """Drop the figures of a model, by its name or identity, or all; returns how many there were."""
        dropped: list[Measured] = []

        def change(entries: list[Measured]) -> list[Measured]:
            dropped.extend(entry for entry in entries if model is None or model in {entry.name, entry.subject.model})
            return [entry for entry in entries if entry not in dropped]

        self._change(change)
        return len(dropped)

    @contextmanager
    def measuring(self, while_waiting: Callable[[], None]) -> Generator[None, None, None]:
        """Be the only process that measures, since two would slow each other; where that cannot be had, go on."""
        try:
            held = self._locks.hold([_MEASURING], lambda _key: while_waiting())
        except LocalLLMError as error:
            self._warn(error.message)
            yield
            return
        with held:
            yield

    def _warn(self, text: str) -> None:
        """Each doubt once."""
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _change(self, change: Callable[[list[Measured]], list[Measured]]) -> None:
        try:
            with self._locks.take(_WRITING), disk_errors(f"write {self._path}"):
                entries = sorted(change(self.entries()), key=lambda entry: entry.measured_at)[-MOST_ENTRIES:]
                make_folder(self._path.parent)
                data = msgspec.json.encode(_File(version=VERSION, entries=entries))
                write_durably(self._path, msgspec.json.format(data, indent=1))
        except LocalLLMError as error:
            self._warn(f"what was measured is not remembered: {error.message}")


def measured_now(
    subject: Subject, name: str, rates: dict[Workload, float], *, streams: int, device: str, is_doubtful: bool = False
) -> Measured:
    """Figures of this moment, without those that are no number."""
    kept = {work: rate for work, rate in rates.items() if math.isfinite(rate) and rate > 0}
    return Measured(
        subject=subject,
        name=name,
        measured_at=int(time.time()),
        rates=kept,
        streams=streams,
        device=device,
        is_doubtful=is_doubtful,
    )


def failed_now(subject: Subject, name: str, fault: str) -> Measured:
    """An engine that failed, at this moment."""
    return Measured(subject=subject, name=name, measured_at=int(time.time()), fault=fault)


def identity_of(model: LocalModel) -> str:
    """What tells a model from others: its bytes where they are known, else its name and size."""
    return model.identity or f"{model.id} of {model.size_bytes} bytes"


def machine_name() -> str:
    """What tells this machine from others that share the home."""
    return f"{processor_name()}, {usable_cores()} cores"
