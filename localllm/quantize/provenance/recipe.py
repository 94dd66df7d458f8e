"""What determines the bytes of a quantized model: its source, what was done with it, and with which tools."""

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from localllm import __version__
from localllm.engines.executorch.exporter.delegates.registry import DELEGATE_NAMES
from localllm.engines.executorch.exporter.schemes import SCHEMES
from localllm.engines.mlc.quantizations import QUANTIZATIONS
from localllm.errors import InvalidRequest
from localllm.models.digest import HEX_PATTERN
from localllm.models.gguf.quant import FILE_TYPES
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.quantize.steps import TypeOverride

_TYPES = frozenset(FILE_TYPES.values())
_SCHEMES = frozenset(SCHEMES)
_TYPES_BY_FORMAT = {"gguf": _TYPES, "pte": _SCHEMES, "mlc": frozenset(QUANTIZATIONS)}
_TENSOR_TYPES = frozenset(kind.name for kind in TENSOR_TYPES.values())
_CONVERTED_TYPES = frozenset({"", "auto", "F32", "F16", "BF16"})
_MOST_OVERRIDES = 1000
_MOST_PATTERN_CHARACTERS = 1000  # a regular expression that names tensors; each name has at most 63 bytes
_DRIVE = re.compile(r"[A-Za-z]:")
_BETWEEN_FOLDERS = re.compile(r"[/\\]")
_FEATURE = re.compile(r"(\w+) = (\d+)")

MadeFormat = Literal["gguf", "pte", "mlc"]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Sha256 = Annotated[str, Meta(pattern=HEX_PATTERN)]
MaybeSha256 = Annotated[str, Meta(pattern=rf"\A\Z|{HEX_PATTERN}")]


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the importance matrix came about. Sums may depend on the number of threads, in their last bits."""

    text: str  # "default", or the file's name
    text_sha256: Sha256
    chunks: Positive
    chunk_tokens: Positive
    threads: Positive
    importance_sha256: Sha256  # of the matrix as a GGUF file


class Program(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was chosen of a program of ExecuTorch, beside the type of its weights."""

    delegate: str
    context_tokens: Positive


class MlcChoices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was chosen of a model of MLC, beside the type of its weights."""

    context_tokens: Positive | None = None  # None: what the source says
    device: str = "auto"  # that its library was compiled for


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that was chosen and determines the bytes of the result."""

    type: str  # a name of FILE_TYPES, such as Q4_K_M; of a program a scheme, such as 8da4w; of MLC q4f16_1
    format: MadeFormat = "gguf"
    program: Program | None = None  # of the format pte
    mlc: MlcChoices | None = None  # of the format mlc
    converted_type: str = ""  # of the GGUF between, where the source is a checkpoint: auto, F32, F16, BF16
    overrides: tuple[TypeOverride, ...] = ()
    output_type: str = ""  # of output.weight; empty: as the type says
    embedding_type: str = ""  # of token_embd.weight, likewise
    is_pure: bool = False
    prune_layers: tuple[Count, ...] = ()
    allow_requantize: bool = False
    calibration: Calibration | None = None
    importance_sha256: MaybeSha256 = ""  # of a matrix that was there before, in place of a calibration
    name: str = ""  # general.name, as it was set
    metadata: dict[str, str] = {}  # more that was set, whole keys


class FileFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file must be like to be that file."""

    sha256: Sha256
    size_bytes: Count


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was quantized. The digests say which files; the reference only where they were found."""

    reference: str  # as the user gave it
    name: str
    format: Literal["gguf", "safetensors"]
    files: Annotated[dict[str, FileFacts], Meta(min_length=1)]  # by their names in the model, with / between folders
    revision: str = ""  # commit of the hub's repository
    license: str = ""
    base_model: str = ""  # the hub's repository that this is a quantization of, if it is known


class Tools(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it was made with. Another version or another processor may round some weights differently."""

    localllm: str
    llama_cpp_python: str
    llama_cpp: str  # the commit
    gguf: str
    numpy: str
    python: str
    machine: str  # the architecture, such as x86_64
    features: tuple[str, ...] = ()  # of the processor that llama.cpp uses, such as AVX2
    executorch: str = ""  # with the next two, of a program
    torch: str = ""
    torchao: str = ""
    mlc_llm: str = ""  # of a model of MLC, of which llama.cpp makes nothing


_LABELS = {
    "llama_cpp_python": "llama-cpp-python",
    "llama_cpp": "llama.cpp",
    "executorch": "ExecuTorch",
    "torch": "PyTorch",
    "mlc_llm": "MLC LLM",
    "python": "Python",
    "machine": "processor architecture",
}


def check_recipe(recipe: Recipe) -> None:
    """Raises InvalidRequest, naming the field, for a type that is not known or overrides without sense or end."""
    is_program = recipe.format == "pte"
    _check_type("type", recipe.type, _TYPES_BY_FORMAT[recipe.format])
    if (recipe.mlc is not None) != (recipe.format == "mlc"):
        raise InvalidRequest("what it says of MLC does not fit its format", param="mlc")
    if (recipe.program is not None) != is_program or (recipe.program and recipe.program.delegate not in DELEGATE_NAMES):
        raise InvalidRequest("what it says of a program does not fit its format, or is not known here", param="program")
    _check_type("converted_type", recipe.converted_type, _CONVERTED_TYPES)
    for field, kind in (("output_type", recipe.output_type), ("embedding_type", recipe.embedding_type)):
        _check_type(field, kind, _TENSOR_TYPES | {""})
    if len(recipe.overrides) > _MOST_OVERRIDES:
        raise InvalidRequest(
            f"{len(recipe.overrides)} overrides are too many; {_MOST_OVERRIDES} are allowed", param="overrides"
        )
    for override in recipe.overrides:
        _check_type("overrides", override.type, _TENSOR_TYPES)
        if not 0 < len(override.pattern) <= _MOST_PATTERN_CHARACTERS:
            raise InvalidRequest(
                f"a pattern of tensors has 1 to {_MOST_PATTERN_CHARACTERS} characters", param="overrides"
            )


def check_names(names: Iterable[str]) -> None:
    """Raises InvalidRequest for a name that leads out of a folder: absolute, on a drive, or with .. in it."""
    for name in names:
        if _DRIVE.match(name) or {"", ".", ".."} & set(_BETWEEN_FOLDERS.split(name)):
            raise InvalidRequest(f"{name[:80]!r} is no name of a file in a model", param="files")


def tools_here(*, llama_cpp: str, features: Iterable[str]) -> Tools:
    """The tools of this process. `llama_cpp` is the commit of the native library, `features` what it was built for.

    Both are values that the process with the native library reports; this one never loads it.
    """
    return Tools(
        localllm=__version__,
        llama_cpp_python=_version("llama-cpp-python"),
        llama_cpp=llama_cpp,
        gguf=_version("gguf"),
        numpy=_version("numpy"),
        python=platform.python_version(),
        machine=platform.machine(),
        features=tuple(sorted(features)),
    )


def with_exporter(tools: Tools) -> Tools:
    """With the versions of what programs are made with."""
    versions = {package: _version(package) for package in ("executorch", "torch", "torchao")}
    return msgspec.structs.replace(tools, **versions)


def tools_of_mlc() -> Tools:
    """The tools of a model of MLC, which come of no package that could be named beforehand."""
    packages = importlib.metadata.packages_distributions().get("mlc_llm", [])
    return Tools(
        localllm=__version__,
        llama_cpp_python="",
        llama_cpp="",
        gguf="",
        numpy=_version("numpy"),
        python=platform.python_version(),
        machine=platform.machine(),
        mlc_llm=_version(packages[0]) if packages else "unknown",
    )


def features_of(system_info: str) -> tuple[str, ...]:
    """The features that are on in the words of `llama_print_system_info`: "CPU : AVX2 = 1 | AVX512 = 0 | …"."""
    return tuple(sorted({name for name, value in _FEATURE.findall(system_info) if value != "0"}))


def differences(then: Tools, now: Tools) -> list[str]:
    """What of `now` is not as it was `then`, a line each: "numpy: 2.4.6 then, 2.5.0 now"."""
    lines = []
    for field in msgspec.structs.fields(Tools):
        before, after = getattr(then, field.name), getattr(now, field.name)
        if before == after:
            continue
        if field.name == "features":
            lines += _feature_differences(set(before), set(after))
        else:
            label = _LABELS.get(field.name, field.name)
            lines.append(f"{label}: {before or 'unknown'} then, {after or 'unknown'} now")
    return lines


def _feature_differences(before: set[str], after: set[str]) -> list[str]:
    lost, gained = sorted(before - after), sorted(after - before)
    parts = [f"without {', '.join(lost)}"] if lost else []
    parts += [f"with {', '.join(gained)}"] if gained else []
    return [f"processor features: now {' and '.join(parts)}"] if parts else []  # another order is no difference


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _check_type(field: str, kind: str, known: frozenset[str]) -> None:
    if kind not in known:
        raise InvalidRequest(f"{kind[:40]!r} is no type that is known here", param=field)
