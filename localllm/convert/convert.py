"""A checkpoint becomes a GGUF file."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import gguf
from msgspec import Struct

from localllm.convert.checkpoint import read_checkpoint
from localllm.convert.families.base import MadeTensor
from localllm.convert.families.registry import family_of
from localllm.convert.metadata import (
    add_architecture_values,
    add_general,
    check_vocabulary,
    safe_name,
)
from localllm.convert.numbers import F32, FORMATS, FloatFormat
from localllm.convert.plan import PlannedTensor, common_format, format_in_file, plan_tensors
from localllm.convert.tensor_stream import streamed
from localllm.convert.vocabulary.read import read_vocabulary
from localllm.convert.vocabulary.write import add_vocabulary
from localllm.convert.writer import OutputTensor, write_gguf
from localllm.errors import InvalidRequest

AUTO = "auto"


class Conversion(Struct, frozen=True, kw_only=True):
    """What was written."""

    architecture: str  # general.architecture
    type: str  # of most weights: F32, F16, BF16
    tensors: int
    size_bytes: int  # of the whole file


def convert(
    files: Mapping[str, Path],
    target: Path,
    *,
    type: str = AUTO,  # noqa: A002 - as the user says it
    name: str = "",
    metadata: Mapping[str, str] = MappingProxyType({}),
    on_tensor: Callable[[int, int, str], None],
) -> Conversion:
    """Write the model of the checkpoint `files` (paths by the names that it knows them by) to `target`, synced.

    `type` is F32, F16, BF16 or auto: BF16 or F16 where the checkpoint has any, else F32. `name` is for general.name,
    `metadata` for more texts under `general.`; `on_tensor` hears how many tensors of how many are written, and which.
    The same files make the same bytes. No tensor is ever in memory whole.

    Raises LoadFailed for a checkpoint that cannot be used, naming the file, key or tensor at fault; InvalidRequest for
    a type or metadata that cannot be; NoRoom and ModelError for the disk. Nothing stays at `target` then.
    """
    _check_request(type, files, target)
    checkpoint = read_checkpoint(files)
    family = family_of(checkpoint.config.model_class)
    layout = family.layout(checkpoint.config)
    planned = plan_tensors(layout, checkpoint)
    chosen = common_format(planned) if type.lower() == AUTO else FORMATS[type.upper()]
    vocabulary = read_vocabulary(files, layout.vocabulary, checkpoint.config)
    check_vocabulary(vocabulary, layout.vocabulary)
    tensors = [*(_streamed(tensor, chosen) for tensor in planned), *map(_made, layout.made)]

    def add_metadata(writer: gguf.GGUFWriter) -> None:
        add_general(writer, name=safe_name(name, vocabulary), more=metadata, type_name=chosen.name)
        add_architecture_values(writer, layout.metadata)
        add_vocabulary(writer, vocabulary)

    size_bytes = write_gguf(target, family.architecture, add_metadata, tensors, on_tensor)
    return Conversion(architecture=family.architecture, type=chosen.name, tensors=len(tensors), size_bytes=size_bytes)


def _check_request(type_name: str, files: Mapping[str, Path], target: Path) -> None:
    if type_name.lower() != AUTO and type_name.upper() not in FORMATS:
        known = ", ".join((AUTO, *FORMATS))
        raise InvalidRequest(f"checkpoints are not converted to {type_name[:80]!r}; say one of {known}", param="type")
    for name, path in files.items():
        if os.path.exists(target) and os.path.exists(path) and os.path.samefile(target, path):
            raise InvalidRequest(f"{target} is {name} of the checkpoint itself; name another file", param="target")


def _streamed(tensor: PlannedTensor, chosen: FloatFormat) -> OutputTensor:
    rule = tensor.rule
    form = format_in_file(rule.target, rule.shape, chosen)
    return OutputTensor(name=rule.target, shape=rule.shape, form=form, pieces=partial(streamed, tensor, form))


def _made(tensor: MadeTensor) -> OutputTensor:
    values = tensor.values.astype("<f4")
    return OutputTensor(name=tensor.target, shape=values.shape, form=F32, pieces=lambda: (values,))
