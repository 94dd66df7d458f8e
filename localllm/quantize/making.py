"""Making a quantized model: convert, calibrate, quantize."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from localllm.errors import InvalidRequest
from localllm.models.files import disk_errors
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.header import GgufHeader, read_header
from localllm.models.on_disk import parts_of
from localllm.models.storage.blobs import hash_file
from localllm.quantize.calibration.importance import read_importance
from localllm.quantize.calibration.texts import Text
from localllm.quantize.material import UNKNOWN_LICENSE, Material
from localllm.quantize.process.workbench import Workbench
from localllm.quantize.provenance.recipe import Calibration, Recipe
from localllm.quantize.steps import Calibrate, Calibrated, Exported, Quantize, Quantized, TensorPlan, TypeOverride

PLAIN_TYPES = ("F32", "F16", "BF16")
CHUNK_TOKENS = 512
_GENERAL = "general."
_MOST_TEXT_BYTES = 127  # of a text that is added to a file (struct llama_model_kv_override)
_IMPORTANCE_PARAM = "importance"  # param of the errors about a matrix that is not there yet


class Wish(Struct, frozen=True, kw_only=True):
    """What the user wants, but for the type."""

    overrides: tuple[TypeOverride, ...] = ()
    output_type: str = ""
    embedding_type: str = ""
    is_pure: bool = False
    prune_layers: tuple[int, ...] = ()
    allow_requantize: bool = False
    calibration: Text | None = None
    calibration_chunks: int
    calibration_threads: int
    importance: Path | None = None  # a matrix that is there already, in place of a calibration
    named: "Named | None" = None  # how a checkpoint is called in the file; None: as the source is

    @property
    def is_plain(self) -> bool:
        """Whether nothing is wanted but a type."""
        return not (self.overrides or self.output_type or self.embedding_type or self.is_pure or self.prune_layers)


class Named(Struct, frozen=True, kw_only=True):
    """What a file that is converted says of itself."""

    name: str  # general.name
    metadata: Mapping[str, str]  # more, whole keys below general.


class MadeFile(Struct, frozen=True, kw_only=True):
    """A GGUF or a program that was made."""

    type: str
    path: Path
    recipe: Recipe
    quantized: Quantized
    beside: Mapping[str, Path] = {}  # what belongs to a program, by name
    exported: Exported | None = None  # what exporting a program took


class Making:
    """One material on one workbench. Whatever several types need is made once."""

    def __init__(self, material: Material, wish: Wish, bench: Workbench) -> None:
        self.material = material
        self.bench = bench
        self._wish = wish

    @cached_property
    def gguf(self) -> Path:
        """The source as a GGUF. Raises LoadFailed, NoRoom, ModelError."""
        return self._converted("auto") if self.material.is_checkpoint else self.bench.opened(self.material)

    @cached_property
    def importance(self) -> Path | None:
        """The importance matrix, if one is wanted. Raises InvalidRequest for a text that is too short."""
        return self._calibrate(self._wish.calibration) if self._wish.calibration else self._wish.importance

    def needed_bytes(self, _type: str) -> int | None:
        """The memory that making it takes, where that is much. Raises LoadFailed."""
        return None

    def check(self, type_: str) -> None:
        """Raises, before anything takes long, what `make` would raise after a calibration, as far as can be known."""
        if self._is_converted_only(type_):
            return
        try:
            words = f"Checking what {type_} takes"
            planned = self._quantize(words, type_, target=None, importance=self._wish.importance)
        except InvalidRequest as error:
            if self._wish.calibration is None or error.param != _IMPORTANCE_PARAM:
                raise
        else:
            self.bench.require_room(planned.size_bytes)

    def dry_run(self, type_: str) -> Quantized:
        """What a type would give, to the byte. Raises as `make`."""
        return self._quantize(f"Sizing up {type_}", type_, target=None, importance=self.importance)

    def make(self, type_: str) -> MadeFile:
        """Quantize to a type. Raises InvalidRequest, LoadFailed, NoRoom, EngineError."""
        if self._is_converted_only(type_):
            path = self._converted(type_)
            return MadeFile(type=type_, path=path, recipe=self._recipe(type_), quantized=_as_it_is(path))
        path = self.bench.path(f"{type_}.gguf")
        words = f"Quantizing to {type_}"
        quantized = self._quantize(words, type_, target=path, importance=self.importance)
        return MadeFile(type=type_, path=path, recipe=self._recipe(type_), quantized=quantized)

    @cached_property
    def source_facts(self) -> ModelFacts:
        """What the source is, as a GGUF. Raises LoadFailed."""
        return facts_of(self.source_headers)

    @cached_property
    def source_headers(self) -> list[GgufHeader]:
        """Of its files, in order. Raises LoadFailed."""
        return [read_header(part) for part in parts_of(self.gguf)]

    @cached_property
    def chunk_tokens(self) -> int:
        """Of the texts that it reads: fewer where it knows, or gets, a shorter context. Raises LoadFailed."""
        return min(CHUNK_TOKENS, self.context_tokens or CHUNK_TOKENS)

    @property
    def context_tokens(self) -> int:
        """The most that the result holds; 0 where the source does not say. Raises LoadFailed."""
        return self.source_facts.context_tokens

    @property
    def source_bytes(self) -> int:
        """The size of that GGUF, all its parts together."""
        return self.gguf.stat().st_size if self.material.is_checkpoint else self.material.weights_bytes

    def _is_converted_only(self, type_: str) -> bool:
        return self.material.is_checkpoint and type_ in PLAIN_TYPES and self._wish.is_plain

    def _converted(self, type_: str) -> Path:
        target = self.bench.path(f"converted-{type_}.gguf")
        general = {key.removeprefix(_GENERAL): text for key, text in self._named.metadata.items()}
        self.bench.convert(self.material, target, type_=type_, name=self._named.name, metadata=general)
        return target

    def _calibrate(self, text: Text) -> Path:
        target = self.bench.path("importance.gguf")
        step = Calibrate(
            model=str(self.gguf),
            text=str(self.bench.keep_text("calibration.txt", text.text, text.name)),
            target=str(target),
            dataset=text.name,
            chunks=self._wish.calibration_chunks,
            chunk_tokens=self.chunk_tokens,
            threads=self._wish.calibration_threads,
        )
        self.bench.do("Calibrating", step, Calibrated)
        return target

    def _quantize(self, words: str, type_: str, *, target: Path | None, importance: Path | None) -> Quantized:
        wish = self._wish
        step = Quantize(
            source=str(self.gguf),
            target=str(target or ""),
            type=type_,
            threads=self.bench.threads,
            importance=str(importance or ""),
            overrides=wish.overrides,
            output_type=wish.output_type,
            embedding_type=wish.embedding_type,
            is_pure=wish.is_pure,
            prune_layers=wish.prune_layers,
            allow_requantize=wish.allow_requantize,
            metadata=_importance_metadata(importance),
            is_dry=target is None,
        )
        return self.bench.do(words, step, Quantized)

    def _recipe(self, type_: str) -> Recipe:
        wish, text, matrix = self._wish, self._wish.calibration, self.importance
        digest = _digest(matrix) if matrix is not None else ""
        calibration = None
        if text is not None:
            calibration = Calibration(
                text=text.name,
                text_sha256=text.sha256,
                chunks=wish.calibration_chunks,  # at most: a short text has fewer
                chunk_tokens=self.chunk_tokens,
                threads=wish.calibration_threads,
                importance_sha256=digest,
            )
        is_checkpoint = self.material.is_checkpoint
        converted_type = type_ if self._is_converted_only(type_) else "auto"
        return Recipe(
            type=type_,
            converted_type=converted_type if is_checkpoint else "",
            overrides=wish.overrides,
            output_type=wish.output_type,
            embedding_type=wish.embedding_type,
            is_pure=wish.is_pure,
            prune_layers=wish.prune_layers,
            allow_requantize=wish.allow_requantize,
            calibration=calibration,
            importance_sha256="" if calibration is not None else digest,
            name=self._named.name if is_checkpoint else "",
            metadata=dict(self._named.metadata) if is_checkpoint else {},
        )

    @property
    def _named(self) -> Named:
        if self._wish.named is not None:
            return self._wish.named
        license_ = self.material.license
        return Named(
            name=self.material.name.family.rpartition("/")[2],
            metadata={} if license_ == UNKNOWN_LICENSE else {f"{_GENERAL}license": license_},
        )


def _importance_metadata(path: Path | None) -> dict[str, str | int]:
    """What llama.cpp's own tools/quantize writes of a matrix into the file."""
    if path is None:
        return {}
    found = read_importance(path)
    dataset = ", ".join(found.datasets).encode()[:_MOST_TEXT_BYTES].decode("utf-8", "ignore")
    return {
        "quantize.imatrix.dataset": dataset,
        "quantize.imatrix.entries_count": len(found.values),
        "quantize.imatrix.chunks_count": found.chunks,
    }


def _as_it_is(path: Path) -> Quantized:
    header = read_header(path)
    facts = facts_of([header])
    return Quantized(
        size_bytes=path.stat().st_size,
        weights_bytes=facts.weights_bytes,
        parameters=facts.parameters,
        tensors=tuple(
            TensorPlan(name=tensor.name, source_type=tensor.type_name, type=tensor.type_name)
            for tensor in header.tensors
        ),
    )


def _digest(path: Path) -> str:
    with disk_errors(f"read {path}"):
        return str(hash_file(path, lambda _: None))
