"""Files that are here already, whichever model they came with."""

from collections.abc import Collection
from contextlib import suppress

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.storage.blobs import hash_file
from localllm.models.storage.store import Store
from localllm.models.transfer.expected import Expected


class KnownFiles:
    """The files of the store by what they contain, as the model called `name` may use them."""

    def __init__(self, store: Store, name: str, distrust: Collection[Digest] = ()) -> None:
        self._store = store
        self._distrust = frozenset(distrust)  # known to be damaged
        self._by_git_sha1: dict[str, Digest] = {}
        self._own: set[Digest] = set()
        self._is_right: dict[Digest, bool] = {}  # of those that were hashed
        for head in store.versions.heads():
            if isinstance(head, IntegrityError):
                continue  # its files may still be found by their digest
            for manifest in store.versions.manifests(head):
                stored = [file for file in manifest.files if not file.is_linked]
                self._by_git_sha1 |= {file.git_sha1: file.digest for file in stored if file.git_sha1}
                if manifest.name.lower() == name.lower():
                    self._own |= {file.digest for file in stored}

    def find(self, expected: Expected) -> Digest | None:
        """The digest under which such a file is in the store.

        One that the model uses already is taken at its size: `verify` tells more. One that only others use, or none,
        as a pull that was cut off leaves it, is hashed before it comes to be used by one more. Raises ModelError.
        """
        digest = self._of_that_size(expected)
        return digest if digest is not None and (digest in self._own or self._is_hashed_right(digest)) else None

    def is_own(self, digest: Digest) -> bool:
        """Whether a version of this model uses that file."""
        return digest in self._own

    def lacks(self, expected: Expected) -> bool:
        """Whether it must be fetched, going by its size alone. Raises ModelError."""
        return self._of_that_size(expected) is None

    def _of_that_size(self, expected: Expected) -> Digest | None:
        digest = expected.sha256 or self._by_git_sha1.get(expected.git_sha1 or "")
        if digest is None or digest in self._distrust or self._store.blobs.size(digest) != expected.size_bytes:
            return None
        return digest

    def _is_hashed_right(self, digest: Digest) -> bool:
        if digest not in self._is_right:
            self._is_right[digest] = False  # also where it cannot be read: it is fetched again
            with suppress(OSError):
                self._is_right[digest] = hash_file(self._store.blobs.path(digest), lambda _: None) == digest
        return self._is_right[digest]
