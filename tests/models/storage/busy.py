"""One of several processes at work on one store: python -m tests.models.storage.busy HOME SEED ROUNDS

Prints what went wrong, if anything; errors that a user could be told count as right where the race explains them.
"""

import hashlib
import random
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from localllm.errors import IntegrityError, InvalidRequest, ModelNotFound
from localllm.models.card import HubSource
from localllm.models.digest import Digest
from localllm.models.known import KnownFiles
from localllm.models.manifest import Manifest, StoredFile, version_of
from localllm.models.storage.garbage import collect_garbage, find_garbage
from localllm.models.storage.store import Store
from localllm.models.transfer.expected import Expected
from tests.models.storage.steps import without_sync

NAMES = ["tiny:1m", "Tiny:1M", "tiny:2m", "some-org/tiny:q4"]
CONTENTS = [b"GGUF %d" % index * 100 for index in range(5)]


def main() -> int:
    """Returns the exit code."""
    store, seed, rounds = Store(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    choose = random.Random(seed)
    actions = [bring, bring, bring, copy, remove, clean_up, roll_back, pin, look, alias]
    with without_sync():
        for _ in range(rounds):
            choose.choice(actions)(store, choose)
            check(store)
    print("done")
    return 0


def bring(store: Store, choose: random.Random) -> None:
    """As a pull does: under the locks of its files."""
    datas = choose.sample(CONTENTS, choose.randint(1, 2))
    files = {Digest(hashlib.sha256(data).hexdigest()): data for data in datas}
    name = choose.choice(NAMES)
    with store.locks.hold(files, lambda _: None):
        known = KnownFiles(store, name)
        for digest, data in files.items():
            if known.find(Expected(size_bytes=len(data), sha256=digest)) is None:
                part = store.part_path(digest)
                part.write_bytes(data)
                store.blobs.publish(part, digest)
        origin = HubSource(repository="a/b", revision="0" * 40, filename="x.gguf")
        stored = tuple(
            StoredFile(filename=f"{digest[:8]}.gguf", size_bytes=len(data), sha256=str(digest), origin=origin)
            for digest, data in files.items()
        )
        facts = {"format": "gguf", "quant": "", "license": "", "source": "", "created": choose.randint(1, 9)}
        more = {"name": name, "version": version_of(stored), "files": msgspec.to_builtins(stored)}
        manifest = store.commit(msgspec.convert(facts | more, Manifest))
        assert store.is_whole(manifest)


def copy(store: Store, choose: random.Random) -> None:
    """A model under another name, without its files' locks: one may go meanwhile, and then it is refused."""
    manifest = store.current(choose.choice(NAMES))
    if manifest is not None:
        try:
            store.commit(msgspec.structs.replace(manifest, name="tiny:copy"))
        except IntegrityError as error:
            if "removed or changed meanwhile" not in error.message:
                raise


def remove(store: Store, choose: random.Random) -> None:
    """Remove a model that another process may have removed."""
    with suppress(ModelNotFound):
        store.remove(choose.choice([*NAMES, "tiny:copy"]))


def clean_up(store: Store, choose: random.Random) -> None:
    """Collect garbage."""
    collect_garbage(store, find_garbage(store, old_versions=choose.random() < 0.3))


def roll_back(store: Store, choose: random.Random) -> None:
    """Go back, if there is something to go back to."""
    with suppress(ModelNotFound, InvalidRequest):
        store.rollback(choose.choice(NAMES))


def pin(store: Store, choose: random.Random) -> None:
    """Pin or take off."""
    with suppress(ModelNotFound):
        store.set_pinned(choose.choice(NAMES), choose.random() < 0.5)


def alias(store: Store, choose: random.Random) -> None:
    """Change the aliases."""
    with store.changing("write"):
        store.aliases.put(f"alias{choose.randint(0, 3)}", choose.choice(NAMES))


def look(store: Store, choose: random.Random) -> None:
    """Read without a lock: no model is ever half there."""
    survey = store.survey()
    assert survey.damages == [], survey.damages
    store.find(choose.choice(NAMES))


def check(store: Store) -> None:
    """While nothing changes, all that is referred to is here and right."""
    with store.changing("look"):
        for digest in store.references():
            data = store.blobs.path(digest).read_bytes()
            assert hashlib.sha256(data).hexdigest() == digest


if __name__ == "__main__":
    sys.exit(main())
