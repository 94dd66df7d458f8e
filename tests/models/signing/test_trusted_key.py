"""Keys of every kind, and bundles from the publisher, from older versions, and from people who mean harm."""

import base64
import json
import random
from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import pytest

from localllm.errors import ConfigError
from localllm.models.signing.trusted_key import MAX_SIGNATURE_BYTES, ContradictionError, TrustedKey, UnprovenError
from tests.models.signing.publisher import CONTENTS, CURVES, Publisher, digests

SIGNED = digests(CONTENTS)
DEEP = 200_000


@pytest.fixture(scope="session")
def key(publisher: Publisher) -> TrustedKey:
    """The publisher's."""
    return TrustedKey(publisher.public_key)


@pytest.mark.parametrize("curve", CURVES)
def test_keys_of_three_curves_sign_the_list_of_files(curve: str, model_signing: None, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "publisher", curve)
    assert TrustedKey(publisher.public_key).signed_files(publisher.sign()) == SIGNED


def test_a_bundle_without_the_name_of_its_key_is_read_in_silence(
    key: TrustedKey, signature: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = json.loads(signature)
    bundle["verificationMaterial"] = {"publicKey": {"rawBytes": "AAAA", "keyDetails": "x"}}  # as 1.0 wrote it
    assert key.signed_files(json.dumps(bundle).encode()) == SIGNED
    assert capfd.readouterr() == ("", "")


NO_KEYS = {
    "empty": b"",
    "broken": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "binary": bytes(range(256)) * 4096,
}


def expect_no_key(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"signing_key .* is not the public key of an elliptic curve") as problem:
        TrustedKey(path)
    assert "\n" not in problem.value.message


@pytest.mark.parametrize("data", NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_key_is_said(data: bytes, model_signing: None, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(data)
    expect_no_key(tmp_path / "key.pub")


def test_a_private_key_is_no_public_one(publisher: Publisher) -> None:
    expect_no_key(publisher.private_key)


@pytest.mark.parametrize(("module", "size"), [("rsa", 2048), ("ed25519", None), ("ec", None)])
def test_keys_of_other_kinds_are_no_keys_of_models(
    module: str, size: int | None, model_signing: None, tmp_path: Path
) -> None:
    kinds = import_module(f"cryptography.hazmat.primitives.asymmetric.{module}")
    pem = import_module("cryptography.hazmat.primitives.serialization")
    if module == "ed25519":
        private = kinds.Ed25519PrivateKey.generate()
    else:
        private = kinds.generate_private_key(*([65537, size] if size else [kinds.SECP256K1()]))
    public = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    expect_no_key(tmp_path / "key.pub")


@pytest.mark.parametrize("name", ["absent.pub", "."])
def test_a_key_that_cannot_be_read_is_said(name: str, model_signing: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read signing_key"):
        TrustedKey(tmp_path / name)


GARBAGE = {
    "nothing": b"",
    "bytes": random.Random(1).randbytes(1_000_000),
    "zeros": bytes(1_000_000),
    "null": b"null",
    "number": b"1" * 100_000,
    "list": b"[]",
    "empty object": b"{}",
    "surrogate": b'{"mediaType": "\\ud800"}',
    "deep list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside": b'{"verificationMaterial": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "pgp": b"-----BEGIN PGP SIGNATURE-----\n\niQEzBAAB\n-----END PGP SIGNATURE-----\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_proves_nothing(data: bytes, key: TrustedKey) -> None:
    with pytest.raises(UnprovenError, match="cannot be read as a Sigstore bundle"):
        key.signed_files(data)


def test_the_longest_bundle_is_read_and_no_longer_one(key: TrustedKey, signature: bytes) -> None:
    assert key.signed_files(signature.ljust(MAX_SIGNATURE_BYTES)) == SIGNED
    with pytest.raises(UnprovenError, match="more than the 8388608 bytes"):
        key.signed_files(signature.ljust(MAX_SIGNATURE_BYTES + 1))


def test_a_truncated_bundle_proves_nothing_wherever_it_ends(key: TrustedKey, signature: bytes) -> None:
    for length in range(0, len(signature), 29):
        with pytest.raises(UnprovenError):
            key.signed_files(signature[:length])


CERTIFICATE = {"rawBytes": "AAAA"}


@pytest.mark.parametrize(
    ("material", "words"),
    [
        ({"publicKey": {"hint": "00" * 32}}, "another key than"),
        ({"certificate": CERTIFICATE, "tlogEntries": []}, "Sigstore identity, which takes the network"),
        ({"x509CertificateChain": {"certificates": [CERTIFICATE]}}, "with a certificate"),
        ({"x509CertificateChain": {"certificates": []}}, "with a certificate"),
    ],
)
def test_signatures_of_other_kinds_prove_nothing(
    material: object, words: str, key: TrustedKey, signature: bytes
) -> None:
    bundle = json.loads(signature) | {"verificationMaterial": material}
    with pytest.raises(UnprovenError, match=words):
        key.signed_files(json.dumps(bundle).encode())


def test_the_signature_of_a_message_proves_nothing(key: TrustedKey, signature: bytes) -> None:
    bundle = json.loads(signature)
    del bundle["dsseEnvelope"]
    bundle["messageSignature"] = {"signature": "AAAA"}
    with pytest.raises(UnprovenError, match="of a message"):
        key.signed_files(json.dumps(bundle).encode())


@pytest.mark.parametrize(
    ("method", "algorithm"),
    [("use_shard_serialization", "sha256"), ("use_file_serialization", "blake3"), ("use_file_serialization", "blake2")],
)
def test_other_digests_prove_nothing(method: str, algorithm: str, publisher: Publisher, key: TrustedKey) -> None:
    hashing = getattr(import_module("model_signing.hashing").Config(), method)(hashing_algorithm=algorithm)
    with pytest.raises(UnprovenError, match="other digests than the SHA-256 of whole files"):
        key.signed_files(publisher.sign(hashing=hashing))


def forged(signature: bytes, **envelope: object) -> bytes:
    """The bundle with parts of its envelope replaced."""
    bundle = json.loads(signature)
    bundle["dsseEnvelope"] |= envelope
    return json.dumps(bundle).encode()


def payload_of(signature: bytes) -> bytes:
    return base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"])


def flipped(data: bytes, bit: int) -> str:
    """Base64 of `data` with one bit turned."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return base64.b64encode(changed).decode()


def test_every_bit_of_the_list_counts(key: TrustedKey, signature: bytes) -> None:
    payload = payload_of(signature)
    for bit in random.Random(1).sample(range(len(payload) * 8), 100):
        with pytest.raises(ContradictionError, match="forged or damaged"):
            key.signed_files(forged(signature, payload=flipped(payload, bit)))


def test_every_bit_of_the_signature_counts(key: TrustedKey, signature: bytes) -> None:
    (entry,) = json.loads(signature)["dsseEnvelope"]["signatures"]
    raw = base64.b64decode(entry["sig"])
    for bit in random.Random(2).sample(range(len(raw) * 8), 100):
        with pytest.raises(ContradictionError, match="forged or damaged"):
            key.signed_files(forged(signature, signatures=[{"sig": flipped(raw, bit)}]))


def test_a_forgery_in_the_name_of_the_key_is_one(key: TrustedKey, signature: bytes, stranger: Publisher) -> None:
    material = json.loads(signature)["verificationMaterial"]
    with pytest.raises(ContradictionError, match="forged or damaged"):
        key.signed_files(json.dumps(json.loads(stranger.sign()) | {"verificationMaterial": material}).encode())


def test_a_stranger_who_names_no_key_proves_nothing(key: TrustedKey, stranger: Publisher) -> None:
    nameless = json.loads(stranger.sign()) | {"verificationMaterial": {"publicKey": {}}}
    with pytest.raises(UnprovenError, match="names no key, and does not hold under"):
        key.signed_files(json.dumps(nameless).encode())


@pytest.mark.parametrize(
    "envelope",
    [
        {"signatures": []},
        {"signatures": [{"sig": ""}]},
        {"signatures": [{"sig": "AAAA"}] * 10_000},
        {"payload": ""},
        {"payload": base64.b64encode(b"[" * DEEP).decode()},
        {"payloadType": "text/plain"},
    ],
    ids=["unsigned", "empty", "many", "no list", "deep list", "another type"],
)
def test_an_envelope_that_is_not_as_signed_is_a_forgery(
    envelope: dict[str, object], key: TrustedKey, signature: bytes
) -> None:
    with pytest.raises(ContradictionError, match="forged or damaged"):
        key.signed_files(forged(signature, **envelope))


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"null",
        b"[" * DEEP,
        b'{"_type": "https://in-toto.io/Statement/v1"}',
        b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}',
    ],
    ids=["nothing", "null", "deep", "no list", "of a build"],
)
def test_a_statement_of_something_else_is_no_list(
    statement: bytes, key: TrustedKey, publisher: Publisher, signature: bytes
) -> None:
    """Rightly signed, and still nothing to compare files with."""
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    ecdsa = import_module("cryptography.hazmat.primitives.asymmetric.ec").ECDSA(hashes.SHA256())
    encoded = f"DSSEv1 28 application/vnd.in-toto+json {len(statement)} ".encode() + statement
    sig = base64.b64encode(publisher.key.sign(encoded, ecdsa)).decode()
    envelope = {"payload": base64.b64encode(statement).decode(), "signatures": [{"sig": sig}]}
    with pytest.raises(ContradictionError):
        key.signed_files(forged(signature, **envelope))


def places(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value below `node`."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        yield (*path, name)
        yield from places(value, (*path, name))


JUNK: tuple[object, ...] = (None, True, -1, 1.5, "", "é", "\x00", [], {}, [[]], {"a": {}}, "A" * 100_000)


def test_whatever_stands_in_the_place_of_a_value_nothing_else_comes_out(key: TrustedKey, signature: bytes) -> None:
    """The names of keys and the log say nothing; junk in every other place ends in one of our two errors."""
    original = json.loads(signature)
    unharmed = set()
    for way in places(original):
        for junk in JUNK:
            bundle = deepcopy(original)
            parent = bundle
            for name in way[:-1]:
                parent = parent[name]
            parent[way[-1]] = junk
            try:
                assert key.signed_files(json.dumps(bundle).encode()) == SIGNED
            except (UnprovenError, ContradictionError):
                continue
            unharmed.add(way[-1])
    assert unharmed == {"publicKey", "hint", "keyid", "tlogEntries"}
