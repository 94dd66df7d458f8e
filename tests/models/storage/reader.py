"""Reads all of a store on a disk that cannot be written: python -m tests.models.storage.reader HOME

Root may write what has no permissions, so what refuses is this process itself (PEP 578). Prints what it found.
"""

import errno
import os
import sys
from pathlib import Path

import msgspec

from localllm.errors import ModelError
from localllm.models.catalog import Catalog
from localllm.models.resolve import resolve
from localllm.models.storage.garbage import find_garbage
from localllm.models.storage.store import Store
from localllm.models.storage.usage import disk_usage
from localllm.models.verify import verify

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate"}


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook under which nothing is written."""
    if event in CHANGES or (event == "open" and _writes(arguments[2])):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))


def main() -> None:
    """Read, and try to write."""
    store = Store(Path(sys.argv[1]))
    sys.addaudithook(refuse)
    manifests, damages = store.survey()
    found = {
        "names": [manifest.name for manifest in manifests],
        "damages": len(damages),
        "whole": [store.find(manifest.name) == manifest for manifest in manifests],
        "paths": [resolve(manifest.name, store, Catalog([])).path for manifest in manifests],  # type: ignore[union-attr]
        "alias": store.aliases.find("short"),
        "faults": [file.fault for manifest in manifests for file in verify(manifest, store, _ignore).files],
        "models": len(disk_usage(store).models),
        "garbage": len(find_garbage(store, old_versions=True)),
        "history": len(store.versions.manifests(store.require(manifests[0].name))),
    }
    refused = []
    for change in (
        lambda: store.rollback(manifests[0].name),
        lambda: store.remove(manifests[0].name),
        lambda: store.commit(manifests[0]),
        lambda: store.set_pinned(manifests[0].name, True),
    ):
        try:
            change()
        except ModelError as error:
            refused.append(error.message)
    print(msgspec.json.encode(found | {"refused": refused}).decode())


def _ignore(done_bytes: int, total_bytes: int) -> None:
    """Progress."""


if __name__ == "__main__":
    main()
