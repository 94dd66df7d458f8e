"""The tokenizer files of a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from localllm.convert.json_object import AGAIN
from localllm.models import model_files
from localllm.models.model_files import ModelFiles

Kind = TypeVar("Kind")

_MOST_BYTES = {"tokenizer.json": 64 * 2**20, "tokenizer.model": 32 * 2**20}  # the largest known: 33 and 5 MB (Gemma 3)


class TokenizerFiles(ModelFiles):
    """See ModelFiles; by the names that the checkpoint knows them by."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        super().__init__(paths, again=AGAIN, most_bytes=_MOST_BYTES)


def parse(data: bytes | msgspec.Raw, kind: type[Kind], name: str) -> Kind:
    """JSON as `kind`; `name` is what an error calls it. Raises LoadFailed."""
    return model_files.parse(data, kind, name, again=AGAIN)
