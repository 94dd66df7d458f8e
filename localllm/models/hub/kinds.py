"""Which files of a repository may be pulled: data of known kinds, never what runs when it is read or unpacked."""

import re
from pathlib import PurePosixPath
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.errors import IntegrityError
from localllm.models.digest import is_plain

WEIGHTS = ".safetensors"
SINGLE_WEIGHTS = "model.safetensors"  # these two as transformers looks for them, in this order
SHARD_INDEX = "model.safetensors.index.json"
MOST_INDEX_BYTES = 32 * 2**20
_KINDS = {".gguf", WEIGHTS, ".json", ".model", ".txt", ".jinja", ".md", ".pte", ".sig"}
_LICENSE = re.compile(r"licen[cs]e(?:[-_][a-z0-9_-]+)?", re.IGNORECASE)
_PICKLES = {".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
_ARCHIVES = {".7z", ".bz2", ".gz", ".nemo", ".rar", ".tar", ".tgz", ".whl", ".xz", ".zip", ".zst"}
_CODE = {".bat", ".cmd", ".dll", ".dylib", ".exe", ".ipynb", ".js", ".ps1", ".py", ".pyc", ".pyd", ".sh", ".so"}


class _ShardIndex(Struct, frozen=True):
    """Of a checkpoint in several files (transformers, "Big models": sharded checkpoints)."""

    weight_map: Annotated[dict[str, str], Meta(min_length=1)]  # a tensor's name to the file it is in


def is_allowed(path: str) -> bool:
    """Whether a file of this name, or of this path in a repository, is of a kind that may be pulled.

    Hidden files are not, nor is anything whose path could lead out of a folder.
    """
    parts = path.split("/")
    if not all(map(is_plain, parts)):
        return False
    return PurePosixPath(path).suffix.lower() in _KINDS or _LICENSE.fullmatch(parts[-1]) is not None


def is_pickle(path: str) -> bool:
    """Whether a file of this name can run code when it is read, as those of Python's pickle do."""
    return PurePosixPath(path).suffix.lower() in _PICKLES


def refusal_words(path: str) -> str:
    """Why a file is not of a kind that may be pulled, in one line."""
    suffix = PurePosixPath(path).suffix.lower()
    name = repr(path[-80:])
    if not all(map(is_plain, path.split("/"))):
        return f"{name} is not pulled: it is hidden, or its name is not safe to write"
    if is_pickle(path):
        return f"{name} is not pulled: such files can run code when they are read; look for .gguf or .safetensors"
    if suffix in _ARCHIVES:
        return f"{name} is not pulled: archives are never unpacked; look for .gguf or .safetensors"
    if suffix in _CODE:
        return f"{name} is not pulled: code from a repository is never run"
    return f"{name} is not pulled: models are {', '.join(sorted(_KINDS))} and license files"


def shards_of(index_json: bytes) -> list[str]:
    """The weight files that a `*.safetensors.index.json` names, sorted; all in the folder of the index.

    Raises IntegrityError when it cannot be read, or names anything else.
    """
    if len(index_json) > MOST_INDEX_BYTES:
        raise IntegrityError(f"the shard index has {len(index_json)} bytes; at most {MOST_INDEX_BYTES} are read")
    try:
        index = msgspec.json.decode(index_json, type=_ShardIndex)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"the shard index cannot be read: {error}") from error
    shards = sorted(set(index.weight_map.values()))
    for shard in shards:
        if not (is_plain(shard) and shard.endswith(WEIGHTS)):
            raise IntegrityError(f"the shard index names {shard[:80]!r}, which is no {WEIGHTS} file beside it")
    return shards
