"""A checkpoint: which files of a repository of safetensors belong to it."""

from collections.abc import Callable, Sequence

from localllm.errors import ModelNotFound
from localllm.models.hub.kinds import SHARD_INDEX, SINGLE_WEIGHTS, WEIGHTS, is_allowed, shards_of
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.wanted import WantedFile, of_hub

_CONFIG = "config.json"
_INDEX_END = ".safetensors.index.json"
_OF_OTHERS = (".safetensors", ".gguf", ".pte", ".sig", _INDEX_END)

ReadFile = Callable[[WantedFile], bytes]


def checkpoint_files(repository: HubRepository, read_file: ReadFile) -> tuple[HubFile, ...]:
    """The weights, in the order of their names, then all that lies beside them at the top and may be fetched.

    Where there is an index, the weights are those that it names: repositories keep the same ones in other forms too.
    Raises ModelNotFound where there is no checkpoint, IntegrityError for an index that cannot be or names other than
    safetensors, DownloadFailed where it cannot be read.
    """
    top = {file.path: file for file in repository.files if "/" not in file.path and is_allowed(file.path)}
    weights = _weights(top, repository, read_file)
    if _CONFIG not in top:
        raise ModelNotFound(f"{repository.repository} has safetensors but no {_CONFIG}; it is no model", param="model")
    others = [file for path, file in sorted(top.items()) if not path.lower().endswith(_OF_OTHERS)]
    index = [top[SHARD_INDEX]] if SHARD_INDEX in top and SINGLE_WEIGHTS not in top else []
    return (*weights, *index, *others)


def _weights(top: dict[str, HubFile], repository: HubRepository, read_file: ReadFile) -> Sequence[HubFile]:
    if SINGLE_WEIGHTS in top:
        return [top[SINGLE_WEIGHTS]]
    if SHARD_INDEX not in top:
        found = [file for path, file in sorted(top.items()) if path.endswith(WEIGHTS)]
        if not found:
            raise ModelNotFound(
                f"{repository.repository} has neither GGUF files nor safetensors; name another repository",
                param="model",
            )
        return found
    shards = shards_of(read_file(of_hub(top[SHARD_INDEX], repository)))
    gone = [shard for shard in shards if shard not in top]
    if gone:
        raise ModelNotFound(f"{repository.repository} lacks {gone[0]}, which its shard index names", param="model")
    return [top[shard] for shard in shards]
