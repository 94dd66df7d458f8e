"""The files of a tokenizer that a repository of the hub has beside a model."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from localllm.models import model_files
from localllm.models.model_files import ModelFiles

AGAIN = "get the file again, or another model"

_MOST_BYTES = {"tokenizer.json": 256 * 2**20}  # the largest known has 33 MB (Gemma 3)

Kind = TypeVar("Kind")


class HubFiles(ModelFiles):
    """See ModelFiles."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        super().__init__(paths, again=AGAIN, most_bytes=_MOST_BYTES)


def parse(data: str | msgspec.Raw, kind: type[Kind], name: str) -> Kind:
    """JSON as `kind`; `name` is what an error calls it. Raises LoadFailed."""
    return model_files.parse(data, kind, name, again=AGAIN)
