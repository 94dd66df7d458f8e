"""A checkpoint as transformers saves it: what its files say the model is, and where each tensor lies."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.json_object import AGAIN, parse_object, read_bytes, read_object
from localllm.convert.safetensors import StoredTensor, WeightFile, read_weight_file
from localllm.errors import IntegrityError, LoadFailed
from localllm.models.digest import is_plain
from localllm.models.files import names_in
from localllm.models.gguf.metadata import quoted
from localllm.models.hub.kinds import MOST_INDEX_BYTES, SHARD_INDEX, SINGLE_WEIGHTS, WEIGHTS, is_pickle, shards_of
from localllm.models.reference import shown

CONFIG = "config.json"
_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_MOST_CONFIG_BYTES = 2**20  # the largest, which name the classes of what they see, have 100 kB
_QUANTIZED_KEYS = ("quantization_config", "compression_config")
_QUANTIZED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")  # AutoGPTQ, AutoAWQ, ModelOpt
_LORA = (
    "this is a LoRA adapter ({name}), which is no model; take the model that it was made for, or merge the two first"
)
_ORIGINAL = "take the original checkpoint, in BF16, F16 or F32"


class PlacedTensor(Struct, frozen=True, kw_only=True):
    """A tensor, and the file it is in."""

    file: WeightFile
    stored: StoredTensor


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A model's description and its tensors by name. Nothing is held open."""

    config: Config
    tensors: Mapping[str, PlacedTensor]


def files_of(folder: Path) -> dict[str, Path]:
    """The regular files of a checkpoint's folder by name, links to such among them. Raises LoadFailed."""
    try:
        if not folder.is_dir():
            raise LoadFailed(f"{folder} is no folder; name one with {CONFIG} and {WEIGHTS} files")
        return {name: folder / name for name in names_in(folder) if is_plain(name) and (folder / name).is_file()}
    except (OSError, ValueError) as error:
        raise LoadFailed(f"cannot read {folder}: {error}; check the path and its permissions") from error


def read_checkpoint(files: Mapping[str, Path]) -> Checkpoint:
    """Read what the files, by the names that they know each other by, say of themselves; no weights yet.

    Raises LoadFailed, naming the file and the tensor, for what is missing, broken or not what it claims, for weights
    that are quantized already or could run code, and for LoRA adapters.
    """
    config = _read_config(files)
    weights = _read_weights(files)
    tensors: dict[str, PlacedTensor] = {}
    for file in weights:
        for name, stored in file.tensors.items():
            if name in tensors:
                raise LoadFailed(
                    f"{tensors[name].file.name} and {file.name} both hold the tensor {quoted(name)}; {AGAIN}"
                )
            tensors[name] = PlacedTensor(file=file, stored=stored)
    if not tensors:
        raise LoadFailed(f"{weights[0].name} holds no tensors; {AGAIN}")
    return Checkpoint(config=config, tensors=tensors)


def _read_config(files: Mapping[str, Path]) -> Config:
    if CONFIG not in files:
        if _ADAPTER_CONFIG in files:
            raise LoadFailed(_LORA.format(name=_ADAPTER_CONFIG))
        raise LoadFailed(f"there is no {CONFIG}, so this is no checkpoint; name the folder or repository of one")
    config = Config(read_object(files[CONFIG], CONFIG, _MOST_CONFIG_BYTES), name=CONFIG)
    for key in _QUANTIZED_KEYS:
        if (part := config.part(key)) is not None:
            method = shown(part.text("quant_method", "by an unknown method"), 40)
            raise LoadFailed(f"{CONFIG}: {key} says that the weights are quantized already ({method}); {_ORIGINAL}")
    for name in _QUANTIZED_FILES:
        if name in files:
            raise LoadFailed(f"{name} says that the weights are quantized already; {_ORIGINAL}")
    return config


def _read_weights(files: Mapping[str, Path]) -> list[WeightFile]:
    if SINGLE_WEIGHTS in files:
        return [read_weight_file(files[SINGLE_WEIGHTS], SINGLE_WEIGHTS)]
    if SHARD_INDEX in files:
        return list(_read_indexed(files))
    names = sorted(name for name in files if name.endswith(WEIGHTS) and name != _ADAPTER_WEIGHTS)
    if not names:
        raise _no_weights(files)
    return [read_weight_file(files[name], name) for name in names]


def _no_weights(files: Mapping[str, Path]) -> LoadFailed:
    if _ADAPTER_WEIGHTS in files:
        return LoadFailed(_LORA.format(name=_ADAPTER_WEIGHTS))
    for name in sorted(files):
        if is_pickle(name):
            return LoadFailed(
                f"{name} is not read: such files can run code when they are; take a checkpoint in {WEIGHTS}"
            )
    return LoadFailed(f"there are no {WEIGHTS} files; get the checkpoint again, or another one")


def _read_indexed(files: Mapping[str, Path]) -> Iterator[WeightFile]:
    """The shards. What they hold and what the index says that they hold must be the same."""
    raw = read_bytes(files[SHARD_INDEX], SHARD_INDEX, MOST_INDEX_BYTES)
    try:
        shards = shards_of(raw)
    except IntegrityError as error:
        raise LoadFailed(f"{SHARD_INDEX}: {error.message}; {AGAIN}") from error
    places = parse_object(raw, SHARD_INDEX)["weight_map"]
    places = places if isinstance(places, dict) else {}
    for shard in shards:
        if shard not in files:
            raise LoadFailed(f"{SHARD_INDEX} names {shard}, which is missing; get it, or the checkpoint again")
    for shard in shards:
        file = read_weight_file(files[shard], shard)
        named = {name for name, place in places.items() if place == shard}
        lost = min(named - file.tensors.keys(), default=None)
        if lost is not None:
            raise LoadFailed(f"{SHARD_INDEX} says that {shard} holds {quoted(lost)}, which it does not; {AGAIN}")
        stray = min(file.tensors.keys() - named, default=None)
        if stray is not None:
            raise LoadFailed(f"{shard} holds {quoted(stray)}, which {SHARD_INDEX} does not say; {AGAIN}")
        yield file
