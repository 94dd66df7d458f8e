"""The clients that a server knows, each by its key."""

import hashlib
import hmac
from collections.abc import Mapping

from localllm.config import ClientKey
from localllm.errors import ConfigError
from localllm.types import Client


class Clients:
    """For whom a request is done, told from the key that came with it. Raises ConfigError for keys that cannot be.

    `key` is the server's own, whose client has the scope ""; empty: none. `keys` are those of other clients by name,
    and the name is their scope. With `share_cache` all have the scope "".
    """

    def __init__(
        self, key: str = "", keys: Mapping[str, ClientKey] | None = None, *, share_cache: bool = False
    ) -> None:
        named = dict(keys or {})
        texts = [entry.key for entry in named.values()] + ([key] if key else [])
        if "" in named:
            raise ConfigError("keys: every client needs a name")
        wrong = next((name for name, entry in named.items() if not _is_sendable(entry.key)), None)
        if wrong is not None or (key and not _is_sendable(key)):
            raise ConfigError(f"{f'keys.{wrong}' if wrong else 'api_key'} is empty, or begins or ends with a space")
        if len(set(texts)) < len(texts):
            raise ConfigError("two clients have the same key; give each of keys, and api_key, one of its own")
        self._known = [(_hash(key.encode()), Client())] if key else []
        for name, entry in named.items():
            self._known.append((_hash(entry.key.encode()), Client("" if share_cache else name, entry.priority)))

    @property
    def have_keys(self) -> bool:
        """Whether clients must send a key."""
        return bool(self._known)

    def find(self, sent: bytes) -> Client | None:
        """Whose key this is. Takes the same time whatever was sent: all digests are compared, and whole."""
        digest = _hash(sent)
        found = None
        for known, client in self._known:
            if hmac.compare_digest(digest, known):
                found = client
        return found


def _is_sendable(key: str) -> bool:
    """Whether a key comes through an HTTP header as it is (RFC 9110, section 5.5)."""
    return bool(key) and key == key.strip()


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
