"""The prompt cache's second tier: KV states as files, so that a prompt read once outlives the process that read it."""

import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock
from msgspec import Struct

from localllm.inference.prefix_tree import Match, PrefixTree, Tokens
from localllm.inference.state_header import (
    NAME,
    DamagedState,
    StateHeader,
    key_name,
    read_header,
    read_state,
    scope_digest,
)
from localllm.models.files import PRIVATE_FILE, make_folder, sync_folder

LOCK = ".states.lock"
LOCK_SECONDS = 10.0  # it is held for a few file operations; whoever waits longer goes without
PART_SECONDS = 600.0  # an unfinished file as old as this is nobody's, whatever its name says
_PART = re.compile(rf"{NAME.pattern}\.(?P<pid>\d+)\.\w+\.part")


class StateMatch(Struct, frozen=True):
    """The file `name` holds a state of `held` tokens, of which the first `tokens` are those that were asked for."""

    name: str
    tokens: int
    held: int


class StateFiles:
    """States in one folder, the least recently used of which go when `budget_bytes` are full; 0 turns all off.

    States fit runners of the same `key`; the budget is for the files of all keys together. A file is counted once
    it is whole. Several processes may share the folder: each learns what the others added when it next adds
    something itself. Owned by one thread. What the disk refuses is not done; no OSError leaves.
    """

    def __init__(self, folder: Path, budget_bytes: int, key: str) -> None:
        self._folder = folder
        self._budget = budget_bytes
        self._key = key
        self._scopes: dict[str, bytes] = {}  # of the files of this key: name, SHA-256 of the scope
        self._trees: dict[bytes, PrefixTree[str]] = {}  # names of files, by scope
        if budget_bytes > 0:
            with suppress(OSError):
                self._remove_parts()
                if sum(file.size for file in self._files()) > budget_bytes:
                    with self._lock():
                        self._make_room(0, leaving=set())
            self._refresh()

    def put(self, tokens: Tokens, scope: str, state: bytes, *, can_trim: bool) -> bool:
        """Keep the state of `tokens`, int32 [n], for prompts of `scope`; returns whether it is now kept.

        `can_trim`: a state of more tokens serves for fewer, so one that another contains need not be kept too.
        Nothing is written where a file already serves. Not kept is what has no tokens, is larger than the budget, or
        cannot be written; then nothing else is given up for it.
        """
        if self._budget <= 0 or len(tokens) == 0:
            return False
        matches = self._tree(scope_digest(scope)).longest(tokens)
        serving = (m.holder for m in matches if m.tokens == len(tokens) and (can_trim or m.held == m.tokens))
        if any(self._touch(name) for name in serving):
            return True
        contained = {m.holder for m in matches if can_trim and m.tokens == m.held}
        header = StateHeader.of(self._key, scope, tokens, state)
        try:
            is_kept = self._write(header.name, header.encode(), state, contained)
        except OSError:
            return False
        self._refresh()
        return is_kept

    def find(self, tokens: Tokens, scope: str, *, can_trim: bool = True) -> StateMatch | None:
        """The file of `scope` that shares the longest beginning with `tokens`, int32 [n]; of equals the smallest.

        Without `can_trim` only states that are used whole are found.
        """
        tree = self._tree(scope_digest(scope))
        usable = [match for match in tree.longest(tokens) if can_trim or match.tokens == match.held]
        for match in sorted(usable, key=_by_use):
            if (self._folder / match.holder).exists():
                return StateMatch(match.holder, match.tokens, match.held)
            self._forget(match.holder)  # another process needed the room
        return None

    def load(self, match: StateMatch) -> bytes | None:
        """The state that `find` found; None where it is gone or damaged, and then it is not found again."""
        if self._budget <= 0:
            return None
        try:
            with (self._folder / match.name).open("rb", buffering=0) as file:
                state = read_state(file, read_header(file, match.name))
        except DamagedState:
            self._remove(match.name)
        except OSError:
            pass
        else:
            self._touch(match.name)
            return state
        self._forget(match.name)
        return None

    def _write(self, name: str, head: bytes, state: bytes, contained: set[str]) -> bool:
        """Write a file aside, then make room, and only then move it into place."""
        size = len(head) + len(state)
        if size > self._budget:
            return False
        make_folder(self._folder)
        descriptor, path = tempfile.mkstemp(prefix=f"{name}.{os.getpid()}.", suffix=".part", dir=self._folder)
        part = Path(path)  # readable by this user alone, says mkstemp
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(head)
                file.write(state)
                file.flush()
                os.fsync(file.fileno())
            with self._lock():
                if not self._make_room(size, leaving={name, *contained}):
                    return False
                for old in contained:
                    self._remove(old)
                _use_now(part)
                os.replace(part, self._folder / name)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(self._folder)
        return True

    def _make_room(self, size: int, leaving: set[str]) -> bool:
        """Remove the least recently used until `size` more bytes fit; the files `leaving` go anyway. Under the lock."""
        files = [file for file in self._files() if file.name not in leaving]
        excess = sum(file.size for file in files) + size - self._budget
        for file in sorted(files, key=lambda file: file.used):
            if excess <= 0:
                break
            if self._remove(file.name):
                excess -= file.size
        return excess <= 0

    def _refresh(self) -> None:
        """Learn which files of this key came and went. Reads the headers of new ones, and nothing else."""
        try:
            names = {file.name for file in self._files() if file.name.startswith(key_name(self._key))}
        except OSError:  # no folder yet, or no permission
            names = set()
        for name in self._scopes.keys() - names:
            self._forget(name)
        for name in names - self._scopes.keys():
            try:
                with (self._folder / name).open("rb", buffering=0) as file:
                    header = read_header(file, name)
            except DamagedState:
                self._remove(name)
            except OSError:
                continue
            else:
                self._scopes[name] = header.scope
                self._trees.setdefault(header.scope, PrefixTree()).put(name, header.ids)

    def _files(self) -> "list[_File]":
        """All files that are states by their names, of whatever key. Raises OSError."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(entry.name, status.st_size, status.st_mtime_ns))
        return found

    def _remove_parts(self) -> None:
        """Remove what writers left that were killed. Raises OSError."""
        oldest = time.time() - PART_SECONDS
        for path in self._folder.iterdir():
            named = _PART.fullmatch(path.name)
            with suppress(OSError, OverflowError):  # a number that no process can have
                if named and (path.stat().st_mtime < oldest or not psutil.pid_exists(int(named["pid"]))):
                    path.unlink()

    def _lock(self) -> FileLock:
        return FileLock(self._folder / LOCK, timeout=LOCK_SECONDS, mode=PRIVATE_FILE)

    def _tree(self, scope: bytes) -> PrefixTree[str]:
        return self._trees.get(scope, PrefixTree())

    def _touch(self, name: str) -> bool:
        """Note that a file was used; whether it is still there."""
        try:
            _use_now(self._folder / name)
        except FileNotFoundError:
            self._forget(name)
            return False
        except OSError:  # a folder that may only be read
            return True
        return True

    def _remove(self, name: str) -> bool:
        """Whether the file is gone. Windows keeps one that another process reads."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _forget(self, name: str) -> None:
        scope = self._scopes.pop(name, None)
        if scope is not None:
            tree = self._trees[scope]
            tree.drop(name)
            if not tree:
                del self._trees[scope]


class _File(Struct, frozen=True):
    name: str
    size: int
    used: int  # ns; the time of modification, as reading times are often not kept


def _use_now(path: Path) -> None:
    now = time.time_ns()  # finer than what some kernels stamp
    os.utime(path, ns=(now, now))


def _by_use(match: Match[str]) -> tuple[int, int]:
    return -match.tokens, match.held
