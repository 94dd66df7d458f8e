"""Names of models: family:tag, or owner/repository:tag for one of the hub."""

import re

from localllm.errors import ModelNotFound
from localllm.models.digest import is_plain

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?:({_PART})/)?({_PART}):({_PART})")
_MAX_LENGTH = 180  # with the separators a folder's name, which systems cut at 255 bytes
_SEPARATOR = "+"  # no part can hold it


class ModelName(str):
    """What a stored model is called. Raises ModelNotFound on anything else.

    Two names that differ in case alone mean the same model, on every file system: their `folder` is the same.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "ModelName":
        """Check and wrap."""
        match = _NAME.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if match is None or not all(is_plain(part) for part in match.groups() if part):
            raise ModelNotFound(f"{text[:200]!r} is no model name; one looks like smollm2:135m", param="model")
        return super().__new__(cls, text)

    @classmethod
    def of_folder(cls, folder: str) -> "ModelName":
        """The name whose `folder` this is, in lower case. Raises ModelNotFound on any other folder."""
        family, _, tag = folder.rpartition(_SEPARATOR)
        name = cls(f"{family.replace(_SEPARATOR, '/')}:{tag}")
        if name.folder != folder:
            raise ModelNotFound(f"{folder[:200]!r} is no model's folder", param="model")
        return name

    @property
    def folder(self) -> str:
        """The plain name of the folder that its manifests are in."""
        return self.lower().replace("/", _SEPARATOR).replace(":", _SEPARATOR)

    @property
    def family(self) -> str:
        """All before the tag."""
        return self.rpartition(":")[0]

    @property
    def tag(self) -> str:
        """What tells it from others of its family: a size, a quant, or both."""
        return self.rpartition(":")[2]


def is_model_name(text: str) -> bool:
    """Whether `text` could name a stored model."""
    try:
        ModelName(text)
    except ModelNotFound:
        return False
    return True
