"""Which engines could run a model here, found without importing anything native."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from types import MappingProxyType

from msgspec import Struct

from localllm import __version__
from localllm.config import Settings
from localllm.devices.choice import DEFAULT_ENGINE
from localllm.engines.registry import check_engine, engine_names, kind_of, real_engines, registered
from localllm.errors import EngineUnavailable, InvalidRequest
from localllm.models.local import LocalModel


class Candidate(Struct, frozen=True, kw_only=True):
    """An engine that is installed and runs models of the format."""

    engine: str
    build: str  # changes when another build of its package is installed


class Field(Struct, frozen=True, kw_only=True):
    """Who competes for a model, and why others do not, a sentence each."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...] = ()

    @property
    def engines(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(candidate.engine for candidate in self.candidates)


class _Package(Struct, frozen=True, kw_only=True):
    """What a bundled engine needs: a module to find, and how it is got."""

    module: str
    distribution: str
    remedy: str


_PACKAGES = MappingProxyType(
    {
        "llama_cpp": _Package(
            module="llama_cpp", distribution="llama-cpp-python", remedy="pip install llama-cpp-python"
        ),
        "executorch": _Package(
            module="executorch", distribution="executorch", remedy='pip install "localllm[executorch]"'
        ),
        "openvino": _Package(
            module="openvino_genai", distribution="openvino-genai", remedy='pip install "localllm[openvino]"'
        ),
        "mlc": _Package(module="mlc_llm", distribution="mlc-llm", remedy="install MLC LLM from its makers"),
    }
)


def find_field(model: LocalModel, settings: Settings, names: Sequence[str] | None = None) -> Field:
    """The engines that could run `model` with these settings, the usual one first; of `names` alone if given.

    Raises InvalidRequest for a name that is none.
    """
    for name in names or ():
        check_engine(name)
    runs, left_out = _by_format(model, names or real_engines())
    candidates = []
    for name in runs:
        if not is_installed(name):
            left_out.append(_not_installed(name))
        elif words := _wanting(name, settings):
            left_out.append(words)
        else:
            candidates.append(Candidate(engine=name, build=build_of(name)))
    return Field(candidates=tuple(candidates), left_out=tuple(left_out))


def require_format(model: LocalModel, name: str) -> None:
    """Raises InvalidRequest for an engine that runs no models like this one, EngineUnavailable for a broken one."""
    check_engine(name)
    wanted = model.format
    if wanted not in kind_of(name).formats:
        able = ", ".join(other for other in engine_names() if _runs(other, wanted))
        raise InvalidRequest(
            f"the engine {name} does not run {model.id}, whose format is {wanted}; {able} can", param="engine"
        )
    if not is_installed(name):
        raise EngineUnavailable(_not_installed(name))


def is_installed(name: str) -> bool:
    """Whether the package of an engine is there; one that brings its own entry point is."""
    package = _PACKAGES.get(name)
    return package is None or find_spec(package.module) is not None


def build_of(name: str) -> str:
    """What tells this build of an engine's package from others, and from what an earlier localllm made of it."""
    found = _distribution(name)
    if found is None:
        return f"localllm {__version__}"
    files = found.read_text("RECORD")  # with the digest of each file: builds for a GPU have the same version
    mark = f" ({hashlib.sha256(files.encode()).hexdigest()[:8]})" if files else ""
    return f"{found.name} {found.version}{mark}, localllm {__version__}"


def _distribution(name: str) -> Distribution | None:
    package = _PACKAGES.get(name)
    if package is None:
        return registered()[name].dist
    try:
        return distribution(package.distribution)
    except PackageNotFoundError:  # another one may bring the module, which takes half a second to find
        others = packages_distributions().get(package.module)
        return distribution(others[0]) if others else None


def _by_format(model: LocalModel, names: Sequence[str]) -> tuple[list[str], list[str]]:
    runs, broken = [], []
    for name in names:
        try:
            formats = kind_of(name).formats
        except EngineUnavailable as error:
            broken.append(error.message)
            continue
        if model.format in formats:
            runs.append(name)
    return sorted(runs, key=lambda name: name != model.engine), broken


def _runs(name: str, wanted: str) -> bool:
    try:
        return wanted in kind_of(name).formats
    except EngineUnavailable:
        return False


def _not_installed(name: str) -> str:
    return f"{name} runs it too, and is not installed: {_PACKAGES[name].remedy}"


def _wanting(name: str, settings: Settings) -> str:
    """Why an engine cannot do what the settings ask for; empty where it can."""
    if name == DEFAULT_ENGINE or not (settings.lora or settings.draft):
        return ""
    return f"{name} takes no {'LoRA adapters' if settings.lora else 'draft model'}, and the settings name some"
