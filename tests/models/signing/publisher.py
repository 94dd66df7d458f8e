"""A publisher with a key of its own, who signs folders as model_signing's command does."""

import hashlib
from importlib import import_module
from pathlib import Path

from localllm.models.digest import Digest

CURVES = ("SECP256R1", "SECP384R1", "SECP521R1")
CONTENTS = {"README.md": b"# A model", "model-Q4_0.gguf": b"GGUF" * 999, "vision/mmproj.gguf": b"GGUF" * 99}


class Publisher:
    """Its key pair lies in `folder`, and so does what it signs."""

    def __init__(self, folder: Path, curve: str = "SECP256R1") -> None:
        folder.mkdir()
        ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
        self._pem = import_module("cryptography.hazmat.primitives.serialization")
        self.folder = folder
        self.key = ec.generate_private_key(getattr(ec, curve)())
        self.public_key = folder / "key.pub"
        self.private_key = folder / "key.pem"
        self.public_key.write_bytes(
            self.key.public_key().public_bytes(self._pem.Encoding.PEM, self._pem.PublicFormat.SubjectPublicKeyInfo)
        )
        self.private_key.write_bytes(
            self.key.private_bytes(self._pem.Encoding.PEM, self._pem.PrivateFormat.PKCS8, self._pem.NoEncryption())
        )

    def sign(self, contents: dict[str, bytes] | None = None, *, hashing: object = None) -> bytes:
        """The bundle for a folder with these files; `hashing` is a Config of model_signing.hashing."""
        model = self.folder / "model"
        for path, content in (CONTENTS if contents is None else contents).items():
            (model / path).parent.mkdir(parents=True, exist_ok=True)
            (model / path).write_bytes(content)
        return self.sign_path(model, hashing=hashing)

    def sign_path(self, path: Path, *, hashing: object = None) -> bytes:
        """The bundle for a folder or a file."""
        config = import_module("model_signing.signing").Config().use_elliptic_key_signer(private_key=self.private_key)
        if hashing is not None:
            config.set_hashing_config(hashing)
        config.sign(path, self.folder / "model.sig")
        return (self.folder / "model.sig").read_bytes()


def digests(contents: dict[str, bytes]) -> dict[str, Digest]:
    """What a pull knows of its files."""
    return {path: Digest(hashlib.sha256(content).hexdigest()) for path, content in contents.items()}
