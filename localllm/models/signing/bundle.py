"""What is used of model_signing's objects: a parsed signature, its verifier, and the list that was signed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class SignedDigest(Protocol):
    """The digest of a file, or of a part of one: `algorithm` is sha256, blake3, sha256-sharded-1000000000 and so on."""

    algorithm: str
    digest_hex: str


class SignedItem(Protocol):
    """A file by its path in the repository, or a part of one."""

    identifier: str
    digest: SignedDigest


class SignedManifest(Protocol):
    """Everything that was signed. `model_name` is that of the folder, or of the file that was signed alone."""

    model_name: str

    def resource_descriptors(self) -> Iterable[SignedItem]:
        """The items, by path."""
        ...


class KeyName(Protocol):
    """Which key signed: `hint` is the SHA-256 of its PEM, unsigned, and missing before version 1.1."""

    hint: str | None


class VerificationMaterial(Protocol):
    """With what to check the signature: exactly one kind of it."""

    public_key: KeyName | None
    x509_certificate_chain: object | None


class Bundle(Protocol):
    """A Sigstore bundle."""

    verification_material: VerificationMaterial
    dsse_envelope: object | None


class Signature(Protocol):
    """A parsed bundle; `read` raises nearly anything on what is none."""

    bundle: Bundle

    @classmethod
    def read(cls, path: Path) -> "Signature":
        """The bundle in a file; nothing is verified."""
        ...


class Verifier(Protocol):
    """Checks a signature by one key; `verify` raises nearly anything where it does not hold."""

    def verify(self, signature: Signature) -> SignedManifest:
        """The list of what was signed."""
        ...
