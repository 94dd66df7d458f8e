"""What a user asks for on the command line, checked before any work begins."""

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from localllm.engines.executorch.exporter.delegates.registry import DEFAULT_DELEGATE, delegate_of
from localllm.engines.executorch.exporter.schemes import SCHEMES, scheme_of
from localllm.engines.mlc.options import AUTO as ANY_DEVICE
from localllm.engines.mlc.quantizations import DEFAULT_QUANTIZATION, quantization_of
from localllm.errors import InvalidRequest
from localllm.quantize.calibration.importance import is_importance, read_importance
from localllm.quantize.calibration.texts import DEFAULT, NONE, Text, both_texts, calibration_text, evaluation_text
from localllm.quantize.making import PLAIN_TYPES, Wish
from localllm.quantize.mlc import MlcWish, gguf_words
from localllm.quantize.programs import ProgramWish, label_of
from localllm.quantize.steps import TypeOverride
from localllm.quantize.types import tensor_type_number, type_of

AUTO = "auto"
DEFAULT_TYPE = "Q4_K_M"
CALIBRATION_CHUNKS, EVALUATION_CHUNKS = 16, 12
_CALIBRATED_BITS = 6  # below so many a calibration is worth its time: finer types round too little for it to matter

_SPELT = {
    "format": "--to",
    "output_type": "--keep-output",
    "embedding_type": "--embedding",
    "overrides": "--override",
    "is_pure": "--pure",
    "is_dry": "--dry-run",
}
_OF_GGUF = (
    "calibrate",
    "output_type",
    "embedding_type",
    "overrides",
    "is_pure",
    "prune_layers",
    "calibration_chunks",
)
_OF_PROGRAMS = ("context", "delegate")
_OF_MLC = ("device",)
_NOT_OF_MLC = {  # with why not
    **dict.fromkeys(_OF_GGUF, "is for GGUF files"),
    **dict.fromkeys(
        ("evaluate", "text", "evaluation_chunks"), "needs the logits of a model, which MLC keeps to itself"
    ),
    "delegate": "is for programs of ExecuTorch",
    "allow_requantize": "is for weights that are quantized already, which MLC does not read",
    "is_dry": "is for what can be told before it is made",
}


class Order(Struct, frozen=True, kw_only=True):
    """What to make and what to measure."""

    type: str  # a name of `types.py`, or AUTO; of a program, one of the exporter's schemes; or one of MLC's
    wish: Wish
    program: ProgramWish | MlcWish | None = None  # None: a GGUF file is to be made
    name: str | None
    text: Text | None  # to evaluate on; None: nothing is measured
    evaluation_chunks: int

    @property
    def is_auto(self) -> bool:
        """Whether the type follows from measurements."""
        return self.type == AUTO

    @property
    def takes_long(self) -> bool:
        """Whether more is done than to round weights."""
        has_steps = self.is_auto or self.wish.calibration is not None or self.text is not None
        return has_steps or self.program is not None

    @property
    def label(self) -> str:
        """What its name says of it."""
        return label_of(self.type, self.program)

    def check_quant(self, quant: str, name: str) -> None:
        """Raises InvalidRequest where `name`, which has `quant`, must not be made another type of."""
        if isinstance(self.program, MlcWish) and quant:
            raise InvalidRequest(gguf_words(f"{name} ({quant})"), param="source")
        is_original = quant in {"", *PLAIN_TYPES}
        is_only_cut = quant == self.type and self.wish.prune_layers
        if not (is_original or is_only_cut or self.wish.allow_requantize):
            raise InvalidRequest(
                f"{name} is quantized already ({quant}); name the original weights, or add --allow-requantize, which "
                "loses quality twice",
                param="allow_requantize",
            )


class Options(Struct, frozen=True, kw_only=True):
    """The options as they were typed; None, and what stands here, where they were not."""

    type: str | None = None
    format: str = "gguf"  # or executorch, or mlc
    context: int | None = None
    delegate: str | None = None
    device: str | None = None
    calibrate: str | None = None
    evaluate: bool = False
    text: str | None = None
    output_type: str = ""
    embedding_type: str = ""
    overrides: tuple[str, ...] = ()
    is_pure: bool = False
    prune_layers: str = ""
    allow_requantize: bool = False
    calibration_chunks: int | None = None
    evaluation_chunks: int | None = None
    is_dry: bool = False

    def require_none(self) -> None:
        """Raises InvalidRequest where one was given that a recipe has an own word for."""
        default = Options(calibrate=self.calibrate)
        for field in self.__struct_fields__:
            if getattr(self, field) != getattr(default, field):
                raise InvalidRequest(f"with --from-card the card says it all; leave out {_spelt(field)}", param=field)

    def order(self, *, name: str | None, threads: int) -> Order:
        """The order they mean. Raises InvalidRequest, naming the option, and LoadFailed for a damaged matrix."""
        if self.format == "executorch":
            self._refuse(_OF_MLC, "is for models of MLC; with --to executorch leave it out")
            return self._program_order(name, threads)
        if self.format == "mlc":
            return self._mlc_order(name, threads)
        self._refuse(_OF_MLC, "is for models of MLC; add --to mlc, or leave it out")
        self._refuse(_OF_PROGRAMS, "is for programs of ExecuTorch; add --to executorch, or leave it out")
        return self._gguf_order(name, threads)

    def _program_order(self, name: str | None, threads: int) -> Order:
        self._refuse(_OF_GGUF, "is for GGUF files; with --to executorch leave it out")
        if (self.type or "").lower() == AUTO:
            raise InvalidRequest(
                f"{AUTO} measures types of GGUF files; with --to executorch name one of {', '.join(SCHEMES)}",
                param="type",
            )
        delegate = delegate_of(self.delegate or DEFAULT_DELEGATE)
        scheme = scheme_of(self.type or delegate.schemes[0])
        self._check_sense(NONE, rounds=False, is_measured=self.evaluate)
        return Order(
            type=scheme.name,
            wish=Wish(allow_requantize=self.allow_requantize, calibration_chunks=1, calibration_threads=threads),
            program=ProgramWish(context_tokens=self.context, delegate=delegate.name),
            name=name,
            text=evaluation_text(self.text or DEFAULT) if self.evaluate else None,
            evaluation_chunks=self.evaluation_chunks or EVALUATION_CHUNKS,
        )

    def _mlc_order(self, name: str | None, threads: int) -> Order:
        for field, why in _NOT_OF_MLC.items():
            self._refuse((field,), f"{why}; with --to mlc leave it out")
        return Order(
            type=quantization_of(self.type or DEFAULT_QUANTIZATION).name,
            wish=Wish(calibration_chunks=1, calibration_threads=threads),
            program=MlcWish(context_tokens=self.context, device=(self.device or ANY_DEVICE).lower()),
            name=name,
            text=None,
            evaluation_chunks=EVALUATION_CHUNKS,
        )

    def _refuse(self, fields: Sequence[str], why: str) -> None:
        """Raises InvalidRequest where one of these was given."""
        default = Options()
        for field in fields:
            if getattr(self, field) != getattr(default, field) and getattr(self, field) != NONE:
                raise InvalidRequest(f"{_spelt(field)} {why}", param=field)

    def _gguf_order(self, name: str | None, threads: int) -> Order:
        type_ = DEFAULT_TYPE if self.type is None else self.type
        kind = None if type_.lower() == AUTO else type_of(type_)
        gains = kind is None or kind.bits < _CALIBRATED_BITS
        calibrate = self.calibrate if self.calibrate is not None else DEFAULT if gains else NONE
        importance = _matrix(calibrate)
        is_measured = kind is None or self.evaluate
        self._check_sense(calibrate, rounds=kind is None or kind.is_quantized, is_measured=is_measured)
        calibration, text = self._texts(NONE if importance is not None else calibrate, is_measured=is_measured)
        if self.calibration_chunks is not None and calibration is None:
            raise InvalidRequest(
                "nothing is calibrated with --calibration-chunks; name a text with --calibrate", param="calibrate"
            )
        wish = Wish(
            overrides=tuple(map(_override, self.overrides)),
            output_type=_tensor_type(self.output_type, "keep_output"),
            embedding_type=_tensor_type(self.embedding_type, "embedding"),
            is_pure=self.is_pure,
            prune_layers=_layers(self.prune_layers),
            allow_requantize=self.allow_requantize,
            calibration=calibration,
            calibration_chunks=self.calibration_chunks or CALIBRATION_CHUNKS,
            calibration_threads=threads,
            importance=importance,
        )
        return Order(
            type=AUTO if kind is None else kind.name,
            wish=wish,
            name=name,
            text=text,
            evaluation_chunks=self.evaluation_chunks or EVALUATION_CHUNKS,
        )

    def _texts(self, calibrate: str, *, is_measured: bool) -> tuple[Text | None, Text | None]:
        """To calibrate with, and to evaluate on."""
        return both_texts(calibrate, self.text or DEFAULT) if is_measured else (calibration_text(calibrate), None)

    def _check_sense(self, calibrate: str, *, rounds: bool, is_measured: bool) -> None:
        """Raises InvalidRequest for an option that would have no effect."""
        if self.is_dry and self.evaluate:
            raise InvalidRequest("with --dry-run nothing is made to measure; leave out --evaluate", param="evaluate")
        if not (rounds or calibrate == NONE):
            raise InvalidRequest(
                f"{self.type} is not quantized, so nothing is calibrated; leave out --calibrate", param="calibrate"
            )
        for option, value in (("--text", self.text), ("--evaluation-chunks", self.evaluation_chunks)):
            if value is not None and not is_measured:
                raise InvalidRequest(f"{option} is for what is evaluated; add --evaluate", param="evaluate")


def _spelt(field: str) -> str:
    """The option of the command line."""
    return _SPELT.get(field, f"--{field.replace('_', '-')}")


def _matrix(calibrate: str) -> Path | None:
    """The path of an importance matrix, if it is one."""
    if not is_importance(calibrate):
        return None
    path = Path(calibrate).expanduser().absolute()
    read_importance(path)
    return path


def _override(text: str) -> TypeOverride:
    pattern, _, type_ = text.rpartition("=")
    if not (pattern and type_.strip()):
        raise InvalidRequest(f"--override takes REGEX=TYPE, such as ffn_down=Q6_K; not {text!r}", param="override")
    return TypeOverride(pattern, _tensor_type(type_, "override"))


def _tensor_type(text: str, param: str) -> str:
    """The name of a type of tensors, as it is spelt; "" for ""."""
    if text:
        tensor_type_number(text, param)
    return text.strip().upper()


def _layers(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        raise InvalidRequest(
            f"--prune-layers takes numbers from 0 on, such as 20,21; not {text!r}", param="prune_layers"
        )
    return tuple(sorted({int(number) for number in text.split(",")}))
