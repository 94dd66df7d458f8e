"""Locks across processes, and what to do while another process holds one."""

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from localllm.errors import ModelError
from localllm.models.digest import Filename
from localllm.models.files import PRIVATE_FILE, disk_errors, make_folder

POLL_SECONDS = 0.1


class Locks:
    """Advisory locks, by name; the system frees those of a process that ends, however it ends.

    All methods raise ModelError where the disk cannot be written, and IntegrityError for what can name no file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def take(self, key: str) -> Generator[None, None, None]:
        """Hold a lock, however long it takes to get it. Not to be nested: it would wait for itself."""
        lock = self._lock(key)
        with disk_errors(f"lock {self._path(key)}"):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def hold(self, keys: Iterable[str], while_waiting: Callable[[str], None]) -> ExitStack:
        """All of these at once; `while_waiting` is told again and again which one another process holds.

        Taken in one order by everybody, so that two who want the same never wait for each other.
        """
        with ExitStack() as held:
            for key in sorted(set(keys)):
                lock = self._lock(key)
                while not self._is_taken(lock, key, POLL_SECONDS):
                    while_waiting(key)
                held.callback(lock.release)
            return held.pop_all()

    @contextmanager
    def trying(self, key: str) -> Generator[bool, None, None]:
        """Hold a lock if nobody else does; says whether that is so."""
        lock = self._lock(key)
        is_taken = self._is_taken(lock, key, 0)
        try:
            yield is_taken
        finally:
            lock.release()  # does nothing where it is not held

    def is_held(self, key: str) -> bool:
        """Whether somebody holds a lock; nothing is created to find out."""
        if not os.path.exists(self._path(key)):
            return False
        try:
            with self.trying(key) as is_taken:
                return not is_taken
        except ModelError:  # on a disk that cannot be written nobody is at work
            return False

    def _path(self, key: str) -> Path:
        return self._folder / Filename(f"{key}.lock")

    def _lock(self, key: str) -> FileLock:
        path = self._path(key)
        with disk_errors(f"create {self._folder}"):
            make_folder(self._folder)
        return FileLock(path, mode=PRIVATE_FILE)

    def _is_taken(self, lock: FileLock, key: str, seconds: float) -> bool:
        with disk_errors(f"lock {self._path(key)}"):
            try:
                lock.acquire(timeout=seconds, poll_interval=POLL_SECONDS / 4)
            except Timeout:  # which is an OSError
                return False
        return True
