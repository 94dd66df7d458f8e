"""The step from a checkpoint to a model of MLC LLM, by MLC's own commands."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.engines.mlc.commands import run_command
from localllm.engines.mlc.folder import CONFIG, WEIGHT_LISTS
from localllm.engines.mlc.library import LibraryOrder, find_library
from localllm.errors import EngineError
from localllm.models.files import alias, disk_errors
from localllm.quantize.steps import MakeMlc, MlcMade, Progress, Quantized, TensorPlan

PLAIN_TEMPLATE = "LM"  # of MLC's chat templates; localllm renders the model's own
_STAGES = ("converting weights", "writing the config", "compiling, which takes minutes")


class _Tensor(Struct, frozen=True):
    name: str
    dtype: str


class _Shard(Struct, frozen=True):
    records: list[_Tensor]


class _Figures(Struct, frozen=True, rename={"weights_bytes": "ParamBytes", "bits": "BitsPerParam"}):
    weights_bytes: float
    bits: Annotated[float, Meta(gt=0)]


class _WeightList(Struct, frozen=True):
    metadata: _Figures
    records: list[_Shard]


def make_mlc(step: MakeMlc, report: Callable[[Progress], None]) -> MlcMade:
    """Write the folder, and have the library compiled into MLC's cache, where it is found when the model is loaded.

    Raises EngineUnavailable, NoRoom, ModelError, EngineError and LoadFailed with the last words of MLC's commands.
    """
    target = Path(step.target)
    source = target.with_name("checkpoint")
    _lay_out(step.files, source)
    chosen = ("--quantization", step.quantization, "--output", str(target))
    report(Progress(0, len(_STAGES), stage=_STAGES[0]))
    run_command("convert_weight", str(source), *chosen, "--device", step.device)
    report(Progress(1, len(_STAGES), stage=_STAGES[1]))
    context = () if step.context_tokens is None else ("--context-window-size", str(step.context_tokens))
    run_command("gen_config", str(source), *chosen, "--conv-template", PLAIN_TEMPLATE, *context)
    report(Progress(2, len(_STAGES), stage=_STAGES[2]))
    library = find_library(LibraryOrder(folder=str(target), device=step.device))
    return MlcMade(model=_described(target), device=library.device, build=library.build)


def _lay_out(files: Mapping[str, str], folder: Path) -> None:
    """The checkpoint as MLC reads it: the files wherever they lie, under their names in one folder."""
    with disk_errors(f"write to {folder}"):
        folder.mkdir()
        for name, path in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            alias(Path(path), place)


def _described(folder: Path) -> Quantized:
    """What was made, from the list of its tensors. Raises EngineError where it is not what MLC writes."""
    path = next((folder / name for name in WEIGHT_LISTS if (folder / name).is_file()), None)
    if path is None or not (folder / CONFIG).is_file():
        raise EngineError(f"MLC has written no {WEIGHT_LISTS[0] if path is None else CONFIG}; is it another version?")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_WeightList)
    except (OSError, msgspec.DecodeError) as error:
        raise EngineError(f"the {path.name} that MLC has written is not as it should be: {error}") from error
    weights_bytes = round(found.metadata.weights_bytes)
    return Quantized(
        size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
        weights_bytes=weights_bytes,
        parameters=round(weights_bytes * 8 / found.metadata.bits),
        tensors=tuple(
            TensorPlan(name=tensor.name, source_type="", type=tensor.dtype)
            for shard in found.records
            for tensor in shard.records
        ),
    )
