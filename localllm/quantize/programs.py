"""Making a program of ExecuTorch: convert, round, lower. The source is read as a GGUF, whatever it is."""

import shutil
from pathlib import Path

from msgspec import Struct

from localllm.devices.cpu import available_memory_bytes
from localllm.engines.executorch.exporter.check import check_order
from localllm.engines.executorch.exporter.memory import check_memory, needed_bytes
from localllm.engines.executorch.exporter.order import ExportOrder
from localllm.engines.executorch.exporter.schemes import DEFAULT_SCHEME, scheme_of
from localllm.models.files import disk_errors
from localllm.models.on_disk import BESIDE_PTE, CHECKPOINT_CONFIG, parts_of
from localllm.quantize.making import MadeFile, Making, Wish
from localllm.quantize.material import Material
from localllm.quantize.mlc import MlcMaking, MlcWish, label_of_mlc
from localllm.quantize.process.workbench import Workbench
from localllm.quantize.provenance.recipe import MadeFormat, Program, Recipe
from localllm.quantize.steps import Exported, ExportProgram

DEFAULT_CONTEXT = 2048
FORMAT: MadeFormat = "pte"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = tuple(name for name in BESIDE_PTE if name not in {"tokenizer.model", CHECKPOINT_CONFIG})


class ProgramWish(Struct, frozen=True, kw_only=True):
    """What the user wants of a program, but for the type."""

    context_tokens: int | None = None  # None: as much as the model was trained for, up to DEFAULT_CONTEXT
    delegate: str = "xnnpack"


class ProgramMaking(Making):
    """One material on one workbench, to be made a program of."""

    def __init__(self, material: Material, wish: Wish, bench: Workbench, program: ProgramWish) -> None:
        super().__init__(material, wish, bench)
        self._program = program

    @property
    def context_tokens(self) -> int:
        """The most that the program holds. Raises LoadFailed for a source that cannot be read."""
        trained = self.source_facts.context_tokens or DEFAULT_CONTEXT
        return self._program.context_tokens or min(DEFAULT_CONTEXT, trained)

    def needed_bytes(self, type_: str) -> int:
        """The memory that the export takes at its peak, as far as it can be told."""
        return needed_bytes(self.source_headers, scheme_of(type_), self.context_tokens)

    def check(self, type_: str) -> None:
        """Raises InvalidRequest, LoadFailed, NoRoom or EngineUnavailable, before anything takes long."""
        check_order(self.source_headers, self._order(type_))
        check_memory(self.source_headers, scheme_of(type_), self.context_tokens, available_memory_bytes())

    def make(self, type_: str) -> MadeFile:
        """Export with a type. Raises as `check`, and EngineError."""
        order = self._order(type_)
        beside = self._own_tokenizer(order.target.parent)
        step = ExportProgram(
            sources=tuple(map(str, order.sources)),
            target=str(order.target),
            scheme=order.scheme,
            delegate=order.delegate,
            context_tokens=order.context_tokens,
            tokenizer_folder="" if beside else str(order.target.parent),
        )
        made = self.bench.do("Exporting", step, Exported)
        return MadeFile(
            type=type_,
            path=order.target,
            recipe=self._recipe(type_),
            quantized=made.program,
            exported=made,
            beside=beside or _beside(order.target.parent),
        )

    def _order(self, type_: str) -> ExportOrder:
        return ExportOrder(
            sources=tuple(parts_of(self.gguf)),
            target=self._folder / f"{type_}.{FORMAT}",
            scheme=type_,
            delegate=self._program.delegate,
            context_tokens=self.context_tokens,
        )

    @property
    def _folder(self) -> Path:
        """Of the program and what belongs to it: an engine looks for the tokenizer beside the program."""
        folder = self.bench.path("program")
        with disk_errors(f"create {folder}"):
            folder.mkdir(exist_ok=True)
        return folder

    def _own_tokenizer(self, folder: Path) -> dict[str, Path]:
        """The files of a checkpoint's own tokenizer, copied; empty where it has none that a program can be run with."""
        found = {name: self.material.files[name] for name in TOKENIZER_FILES if name in self.material.files}
        if TOKENIZER not in found:
            return {}
        for name, path in found.items():
            with disk_errors(f"write to {folder}"):
                shutil.copyfile(path, folder / name)
        return _beside(folder)

    def _recipe(self, type_: str) -> Recipe:
        wish = self._program
        program = Program(delegate=wish.delegate, context_tokens=self.context_tokens)
        return Recipe(
            type=type_,
            format=FORMAT,
            program=program,
            converted_type="auto" if self.material.is_checkpoint else "",
            allow_requantize=self._wish.allow_requantize,
            name=self._named.name if self.material.is_checkpoint else "",
            metadata=dict(self._named.metadata) if self.material.is_checkpoint else {},
        )


def label_of(type_: str, program: ProgramWish | MlcWish | None) -> str:
    """What the name of a result says of it: its type, or what it is for, with a type that is not the usual."""
    if program is None:
        return type_
    if isinstance(program, MlcWish):
        return label_of_mlc(type_)
    return FORMAT if type_ == DEFAULT_SCHEME else f"{FORMAT}-{type_}"


def making_of(material: Material, wish: Wish, bench: Workbench, program: ProgramWish | MlcWish | None) -> Making:
    """What makes a GGUF file, or the program or the model of MLC that is wished for."""
    if isinstance(program, MlcWish):
        return MlcMaking(material, wish, bench, program)
    return Making(material, wish, bench) if program is None else ProgramMaking(material, wish, bench, program)


def _beside(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}
