"""The step from a checkpoint to a GGUF file."""

from collections.abc import Callable
from pathlib import Path

from localllm.convert.convert import convert as convert_checkpoint
from localllm.devices.cpu import peak_memory_bytes
from localllm.quantize.steps import Convert, Converted, Progress


def convert(step: Convert, report: Callable[[Progress], None]) -> Converted:
    """Write the GGUF file. Raises LoadFailed for a checkpoint that cannot be converted, NoRoom, ModelError."""
    made = convert_checkpoint(
        {name: Path(path) for name, path in step.files.items()},
        Path(step.target),
        type=step.type,
        name=step.name,
        metadata=step.metadata,
        on_tensor=lambda done, total, name: report(Progress(done, total, name)),
    )
    return Converted(
        architecture=made.architecture,
        type=made.type,
        tensors=made.tensors,
        size_bytes=made.size_bytes,
        peak_memory_bytes=peak_memory_bytes(),
    )
