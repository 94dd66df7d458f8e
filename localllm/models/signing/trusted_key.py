"""The public key that the user trusts, and what it says about a signature, offline.

A repository may carry `model.sig` (https://github.com/sigstore/model-transparency): a Sigstore bundle
(https://docs.sigstore.dev/about/bundle/) around a DSSE envelope, whose in-toto statement lists every file with its
SHA-256. The package `model-signing` checks the envelope and reads the list. It would then hash a folder; the store
has no such folder, and often a part of the files, so only its verifier is used, and digests are compared elsewhere.
"""

import tempfile
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType

from localllm.errors import ConfigError
from localllm.models.files import disk_errors
from localllm.models.signing.bundle import Bundle, Signature, SignedManifest, Verifier

SIGNATURE_NAME = "model.sig"  # what model_signing's own command calls it
MAX_SIGNATURE_BYTES = 8 * 2**20  # tens of thousands of files
POLICY_SETTING = "signatures"
KEY_SETTING = "signing_key"


class UnprovenError(Exception):
    """There is no signature, or none that this key can say anything about. The text says why, in one line."""


class ContradictionError(Exception):
    """The signature speaks against itself or the files. The text says how, in one line, and what to do."""


class TrustedKey:
    """The public key of a publisher, with model_signing's verifier for it.

    Raises ConfigError: no key is set, it is no elliptic curve public key, or model-signing is not installed.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise ConfigError(
                f"checking signatures needs {KEY_SETTING}: set it to the file of the publisher's public key (PEM), "
                f'or set {POLICY_SETTING} = "off"'
            )
        self._bundles, verifiers, keys = _packages()
        self._path = path
        try:
            self._verifier = verifiers(path)
            self._hint = _hint(keys, path)
        except OSError as error:
            raise ConfigError(f"cannot read {KEY_SETTING} {path}: {error.strerror or error}") from error
        except Exception as error:  # which one depends on what lies there instead
            raise ConfigError(
                f"{KEY_SETTING} {path} is not the public key of an elliptic curve (P-256, P-384 or P-521) as PEM; "
                "ask the publisher for it"
            ) from error

    def signed_files(self, signature: bytes | None) -> dict[str, str]:
        """SHA-256, as lower-case hexadecimal digits, by path: every file that this key signed.

        Raises UnprovenError where there is no signature by this key that can be read, ContradictionError where there
        is one and it does not hold.
        """
        if signature is None:
            raise UnprovenError(f"it comes without a signature ({SIGNATURE_NAME})")
        parsed = self._parse(signature)
        named = self._expect_this_key(parsed.bundle)
        try:
            manifest = self._verifier.verify(parsed)
        except Exception as error:  # bytes of a stranger: whatever made the package stumble, they did not verify
            if not named:
                raise UnprovenError(f"its signature names no key, and does not hold under {self._path}") from error
            raise ContradictionError(
                f"its signature does not hold under the key {self._path}, so it was forged or damaged; "
                "pull it again, and if that does not help, ask the publisher"
            ) from error
        return _digests(manifest)

    def _parse(self, signature: bytes) -> Signature:
        if len(signature) > MAX_SIGNATURE_BYTES:
            raise UnprovenError(f"its signature has more than the {MAX_SIGNATURE_BYTES} bytes that are looked at")
        with disk_errors("check a signature"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder, SIGNATURE_NAME)  # the package reads files alone, and mends what older versions wrote
            path.write_bytes(signature)
            try:
                return self._bundles.read(path)
            except Exception as error:  # bytes of a stranger, as above
                raise UnprovenError("its signature cannot be read as a Sigstore bundle") from error

    def _expect_this_key(self, bundle: Bundle) -> bool:
        """Whether the bundle names this key; raises UnprovenError where it names another, or what is no key.

        The name is not signed: it tells the signature of another from a damaged one by this key, and proves nothing.
        """
        material = bundle.verification_material
        if material.x509_certificate_chain is not None:
            raise UnprovenError("it is signed with a certificate, and only signatures by a key are checked")
        if material.public_key is None:
            raise UnprovenError("it is signed by a Sigstore identity, which takes the network; only keys are checked")
        if bundle.dsse_envelope is None:
            raise UnprovenError("its signature is that of a message, not of a model's files")
        named = material.public_key.hint or ""
        if named not in ("", self._hint):
            raise UnprovenError(f"it is signed with another key than {self._path}")
        material.public_key.hint = self._hint  # versions before 1.1 wrote none, which the package prints to stdout
        return bool(named)


def _digests(manifest: SignedManifest) -> dict[str, str]:
    """A file that was signed alone is the item "." of a model by the name of the file."""
    items = manifest.resource_descriptors()
    digests = {manifest.model_name if item.identifier == "." else item.identifier: item.digest for item in items}
    if {digest.algorithm for digest in digests.values()} - {"sha256"}:  # parts of files have an algorithm of their own
        raise UnprovenError("its signature lists other digests than the SHA-256 of whole files")
    return {path: digest.digest_hex for path, digest in digests.items()}


def _hint(keys: ModuleType, path: Path) -> str:
    """What a bundle calls a key: SHA-256 of its PEM as the package writes it."""
    key = keys.load_pem_public_key(path.read_bytes())
    pem: bytes = key.public_bytes(keys.Encoding.PEM, keys.PublicFormat.SubjectPublicKeyInfo)
    return sha256(pem).hexdigest()


def _packages() -> tuple[type[Signature], Callable[[Path], Verifier], ModuleType]:
    """Imported by name, late: they are optional, many, and take half a second.

    The public door of model_signing hashes a folder, so these are behind it, and another version may lack them.
    """
    try:
        return (
            import_module("model_signing._signing.sign_sigstore_pb").Signature,
            import_module("model_signing._signing.sign_ec_key").Verifier,
            import_module("cryptography.hazmat.primitives.serialization"),
        )
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"checking signatures needs more packages ({error}): pip install 'localllm[signing]'"
        ) from error
