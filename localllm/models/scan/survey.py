"""One bounded walk over a place of another program, which notes what it leaves out."""

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from localllm.models.scan.foreign_file import TROUBLE, reason_of
from localllm.models.scan.found import Skipped

MOST_ENTRIES = 50_000  # files and folders looked at in one place
MOST_DEPTH = 6  # folders below the one that a walk begins at


class Survey:
    """Counts what was looked at and collects what was left out. For one place; not shared by threads."""

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        self.skipped: list[Skipped] = []
        self._left = most_entries
        self._is_cut = False

    def skip(self, path: Path, why: str | Exception) -> None:
        """Leave `path` out, for a reason in words or that of an error."""
        self.skipped.append(Skipped(path=path, reason=why if isinstance(why, str) else reason_of(why)))

    def children(self, folder: Path) -> list[Path]:
        """What stands in a folder, by name, without hidden entries; nothing where there is no such folder."""
        try:
            with os.scandir(folder) as listing:
                names = [entry.name for entry in islice(listing, self._left + 1)]
        except FileNotFoundError:
            return []
        except TROUBLE as error:
            self.skip(folder, error)
            return []
        if len(names) > self._left and not self._is_cut:
            self._is_cut = True
            self.skip(folder, "there are too many files and folders to look at; the rest was left out")
        names = sorted(names[: self._left])
        self._left -= len(names)
        return [folder / name for name in names if not name.startswith(".") and self._is_showable(folder / name)]

    def files(self, root: Path, most_depth: int = MOST_DEPTH) -> Iterator[Path]:
        """Regular files below `root`, also behind links, in a fixed order; no folder is walked twice."""
        seen: set[tuple[int, int]] = set()
        pending = [(root, 0)]
        while pending:
            folder, depth = pending.pop()
            if not self._is_new(folder, seen):
                continue
            folders = []
            for path in self.children(folder):
                mode = self._mode(path)
                if stat.S_ISREG(mode):
                    yield path
                elif stat.S_ISDIR(mode) and depth < most_depth:
                    folders.append((path, depth + 1))
                elif mode:
                    self.skip(path, "it lies too deep" if stat.S_ISDIR(mode) else "it is no regular file")
            pending.extend(reversed(folders))

    def _is_showable(self, path: Path) -> bool:
        if path.name.isprintable():
            return True
        self.skip(path, "its name cannot be shown: it is no UTF-8 or holds control characters")
        return False

    def _is_new(self, folder: Path, seen: set[tuple[int, int]]) -> bool:
        try:
            status = os.stat(folder)
        except FileNotFoundError:
            return False
        except TROUBLE as error:
            self.skip(folder, error)
            return False
        place = (status.st_dev, status.st_ino)
        if place in seen:
            self.skip(folder, "it leads to a folder that was looked at already")
            return False
        if status.st_ino:  # some file systems of Windows number nothing; there the depth is the only bound
            seen.add(place)
        return True

    def _mode(self, path: Path) -> int:
        """What `path` leads to, as st_mode; 0 where that cannot be told."""
        try:
            return os.stat(path).st_mode
        except FileNotFoundError:
            self.skip(path, "it is a link to nothing")
        except TROUBLE as error:
            self.skip(path, error)
        return 0
