"""The step from a GGUF file to a program of ExecuTorch."""

from collections.abc import Callable
from pathlib import Path

from localllm.convert.hub_files.write import tokenizer_files
from localllm.devices.cpu import peak_memory_bytes
from localllm.engines.executorch.exporter.export import export
from localllm.engines.executorch.exporter.order import Export, ExportOrder
from localllm.models.files import disk_errors
from localllm.quantize.steps import Exported, ExportProgram, Progress, Quantized, TensorPlan

_PARTS = 1000  # that progress is told in


def export_program(step: ExportProgram, report: Callable[[Progress], None]) -> Exported:
    """Write the program, and the tokenizer's files where they are wanted.

    Raises EngineUnavailable where ExecuTorch is not installed, InvalidRequest and LoadFailed for what cannot be
    exported, NoRoom, ModelError, EngineError.
    """
    order = ExportOrder(
        sources=tuple(map(Path, step.sources)),
        target=Path(step.target),
        scheme=step.scheme,
        delegate=step.delegate,
        context_tokens=step.context_tokens,
    )
    if step.tokenizer_folder:
        _write_tokenizer(order.sources[0], Path(step.tokenizer_folder))
    made = export(order, lambda stage, share: report(Progress(round(share * _PARTS), _PARTS, stage=stage)))
    return Exported(
        program=_program(made),
        delegated=made.delegated,
        undelegated=made.undelegated,
        seconds=made.seconds,
        peak_memory_bytes=peak_memory_bytes(),
    )


def _write_tokenizer(source: Path, folder: Path) -> None:
    for name, data in tokenizer_files(source).items():
        path = folder / name
        with disk_errors(f"write {path}"):
            path.write_bytes(data)


def _program(made: Export) -> Quantized:
    return Quantized(
        size_bytes=made.size_bytes,
        weights_bytes=sum(tensor.size_bytes for tensor in made.tensors),
        parameters=sum(tensor.elements for tensor in made.tensors),
        tensors=tuple(
            TensorPlan(name=tensor.name, source_type=tensor.source_type, type=tensor.type) for tensor in made.tensors
        ),
        warnings=made.warnings,
    )
