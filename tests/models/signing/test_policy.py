"""What a signature says of the files at hand, and what the policy makes of it."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.errors import ConfigError, IntegrityError
from localllm.models.digest import Digest
from localllm.models.signing.policy import SignaturePolicy, check_signature, check_signing_setup
from tests.models.child import Child, clean_environment
from tests.models.signing.publisher import CONTENTS, Publisher, digests

FILES = digests(CONTENTS)
Q4 = "model-Q4_0.gguf"
EITHER = pytest.mark.parametrize("policy", ["require", "warn"])

WITHOUT_IMPORTS = """
import sys
from localllm.models.signing.policy import check_signature, check_signing_setup
check_signing_setup("off", None)
print(check_signature("off", signature=b"junk", files={}, public_key=None, model="m"))
print({"model_signing", "cryptography", "pydantic"} & set(sys.modules))
"""

WITHOUT_NETWORK = """
import sys, pathlib
from localllm.models.signing.policy import check_signature
from tests.models.signing.publisher import CONTENTS, digests

def refuse(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}:
        print("network:", event)

sys.addaudithook(refuse)
signature, key = map(pathlib.Path, sys.argv[1:])
check = dict(signature=signature.read_bytes(), public_key=key, model="m")
print(check_signature("require", files=digests(CONTENTS), **check))
"""


def check(
    policy: SignaturePolicy,
    signature: bytes | None,
    publisher: Publisher,
    files: Mapping[str, Digest] = FILES,
) -> str | None:
    return check_signature(policy, signature=signature, files=files, public_key=publisher.public_key, model="tiny:q4")


@EITHER
@pytest.mark.parametrize("paths", [list(FILES), [Q4], ["vision/mmproj.gguf"]], ids=["all", "one", "nested"])
def test_signed_files_are_right_and_so_is_a_part_of_them(
    policy: SignaturePolicy, paths: list[str], publisher: Publisher, signature: bytes
) -> None:
    assert check(policy, signature, publisher, {path: FILES[path] for path in paths}) is None


def test_off_looks_at_nothing_and_imports_nothing(tmp_path: Path) -> None:
    with Child("-c", WITHOUT_IMPORTS, environment=clean_environment(tmp_path)) as child:
        assert child.finish() == (0, ["None", "set()"])


@pytest.mark.slow
def test_a_check_needs_no_network_and_prints_nothing(publisher: Publisher, signature: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.sig").write_bytes(signature)
    command = ("-c", WITHOUT_NETWORK, str(tmp_path / "model.sig"), str(publisher.public_key))
    with Child(*command, environment=clean_environment(tmp_path)) as child:
        assert child.finish() == (0, ["None"])


def test_a_model_without_signature_is_refused_or_warned_of(publisher: Publisher) -> None:
    with pytest.raises(IntegrityError, match=r"tiny:q4 is refused: it comes without a signature .*warn"):
        check("require", None, publisher)
    assert check("warn", None, publisher) == "tiny:q4 is not verified: it comes without a signature (model.sig)"


def test_the_key_of_another_is_refused_or_warned_of(publisher: Publisher, stranger: Publisher) -> None:
    with pytest.raises(IntegrityError, match=r"another key than .*key\.pub; choose a model signed with"):
        check("require", stranger.sign(), publisher)
    assert "another key" in (check("warn", stranger.sign(), publisher) or "")


@EITHER
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({Q4: CONTENTS[Q4][:-1] + b"\xc7"}, "not the file that its publisher signed"),
        ({Q4: CONTENTS["vision/mmproj.gguf"]}, "not the file that its publisher signed"),
        ({"extra.gguf": b"GGUF"}, "'extra.gguf' is not among the files"),
        ({"model-q4_0.gguf": CONTENTS[Q4]}, "'model-q4_0.gguf' is not among the files"),
        ({f"../{Q4}": CONTENTS[Q4]}, "is not among the files"),
        ({"model.sig": b"{}"}, "'model.sig' is not among the files"),
        ({"new\nline" * 99: b""}, r"'new\\nline.*\.\.\.' is not among the files"),
    ],
    ids=["flipped", "swapped", "added", "renamed", "above", "signature", "long"],
)
def test_files_that_were_not_signed_are_refused_whatever_the_policy(
    policy: SignaturePolicy, change: dict[str, bytes], words: str, publisher: Publisher, signature: bytes
) -> None:
    with pytest.raises(IntegrityError, match=f"tiny:q4 is refused: .*{words}") as refusal:
        check(policy, signature, publisher, FILES | digests(change))
    assert "\n" not in refusal.value.message
    assert len(refusal.value.message) < 600


@EITHER
def test_a_file_may_be_signed_alone(policy: SignaturePolicy, publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / Q4).write_bytes(CONTENTS[Q4])
    signature = publisher.sign_path(tmp_path / Q4)
    assert check(policy, signature, publisher, {Q4: FILES[Q4]}) is None
    for changed in ({"other.gguf": FILES[Q4]}, {Q4: FILES["README.md"]}, {".": FILES[Q4]}):
        with pytest.raises(IntegrityError, match="publisher signed"):
            check(policy, signature, publisher, changed)


@EITHER
def test_no_files_are_not_right_files(policy: SignaturePolicy, publisher: Publisher, signature: bytes) -> None:
    with pytest.raises(IntegrityError, match="no files"):
        check(policy, signature, publisher, {})


@EITHER
def test_the_signature_of_another_model_is_refused(
    policy: SignaturePolicy, tmp_path: Path, publisher: Publisher
) -> None:
    other = Publisher(tmp_path / "other")
    other.private_key.write_bytes(publisher.private_key.read_bytes())
    with pytest.raises(IntegrityError, match="not among the files"):
        check(policy, other.sign({"other.gguf": b"GGUF"}), publisher)


@EITHER
def test_a_key_must_be_set(policy: SignaturePolicy) -> None:
    with pytest.raises(ConfigError, match=r'signing_key.*signatures = "off"'):
        check_signing_setup(policy, None)
    with pytest.raises(ConfigError, match="signing_key"):
        check_signature(policy, signature=None, files=FILES, public_key=None, model="tiny:q4")


@EITHER
def test_the_setup_is_right_with_a_key(policy: SignaturePolicy, publisher: Publisher) -> None:
    check_signing_setup(policy, publisher.public_key)


@EITHER
@pytest.mark.parametrize("lacking", ["model_signing", "model_signing._signing.sign_sigstore_pb"])
def test_what_to_install_is_said(
    policy: SignaturePolicy, lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("model_signing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(ConfigError, match=r"pip install 'localllm\[signing\]'"):
        check_signing_setup(policy, tmp_path / "key.pub")
