"""Whether a model's files are those that its publisher signed, and what to do where that is not known.

A signature says that the owner of the key made these files, not that they are the model that was asked for: another
model or an older version of the same publisher is signed as rightly. Which one is wanted, a commit says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from localllm.errors import IntegrityError
from localllm.models.digest import Digest
from localllm.models.signing.trusted_key import (
    KEY_SETTING,
    POLICY_SETTING,
    ContradictionError,
    TrustedKey,
    UnprovenError,
)

SignaturePolicy = Literal["require", "warn", "off"]


def check_signing_setup(policy: SignaturePolicy, public_key: Path | None) -> None:
    """Fail before anything is fetched where `check_signature` could not do its work afterwards.

    Raises ConfigError: no key is set, it is no elliptic curve public key, or model-signing is not installed.
    """
    if policy != "off":
        TrustedKey(public_key)


def check_signature(
    policy: SignaturePolicy,
    *,
    signature: bytes | None,
    files: Mapping[str, Digest],
    public_key: Path | None,
    model: str,
) -> str | None:
    """Compare the files at hand with those that were signed.

    `signature`: the bytes of `model.sig`, None where the repository has none. `files`: SHA-256 by path in the
    repository, without `model.sig` itself; signed files that are not among them are no fault. `public_key`: PEM of an
    elliptic curve key (P-256, P-384 or P-521). `model`: its name, for messages.

    Returns None when every file was signed by that key, and where the policy is off. Returns a line of warning when
    the policy is `warn` and nothing is proven: no signature, an unreadable one, by another key, or of another kind.

    Raises IntegrityError when nothing is proven and the policy is `require`; under both policies when the signature is
    forged, or a file is another than the one signed or was not signed at all. Raises ConfigError as
    `check_signing_setup` does.
    """
    if policy == "off":
        return None
    key = TrustedKey(public_key)
    try:
        _compare(files, key.signed_files(signature))
    except UnprovenError as doubt:
        if policy == "warn":
            return f"{model} is not verified: {doubt}"
        raise IntegrityError(
            f"{model} is refused: {doubt}; choose a model signed with the key of {KEY_SETTING}, "
            f'or set {POLICY_SETTING} = "warn" if you trust the source all the same'
        ) from doubt
    except ContradictionError as proof:
        raise IntegrityError(f"{model} is refused: {proof}") from proof
    return None


def _compare(files: Mapping[str, Digest], signed: Mapping[str, str]) -> None:
    if not files:
        raise ContradictionError("it has no files that its signature could be compared with; pull it again")
    for path, digest in files.items():
        if path not in signed:
            raise ContradictionError(
                f"{_shown(path)} is not among the files that its publisher signed, so it was added or renamed; "
                "choose another revision, or ask the publisher"
            )
        if signed[path] != digest:
            raise ContradictionError(
                f"{_shown(path)} is not the file that its publisher signed (SHA-256 {digest}, signed {signed[path]}); "
                "pull it again, and if that does not help, ask the publisher"
            )


def _shown(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:117]}...")
