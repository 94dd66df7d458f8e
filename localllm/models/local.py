"""A model on this disk, ready to be loaded."""

from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import force_setattr

from localllm.types import ModelDefaults

ENGINES = MappingProxyType({"gguf": "llama_cpp", "pte": "executorch", "mlc": "mlc", "openvino": "openvino"})
"""The usual engine of each format."""

_FORMATS = {engine: format_ for format_, engine in ENGINES.items()}


class LocalModel(Struct, frozen=True, kw_only=True):
    """What an engine needs to load a model, and what its answers default to."""

    id: str  # the name that requests use
    engine: str  # the usual one
    format: str = ""  # of its files, by which others may run it: a key of ENGINES, or "echo"; empty: the engine's own
    path: str
    parts: tuple[str, ...] = ()  # of a model in several files: all of them in order; `path` is the first
    created: int  # Unix time of its arrival
    size_bytes: int
    defaults: ModelDefaults
    beside: dict[str, str] = {}  # more files that belong to it: paths by name, such as tokenizer.json
    sha256: str = ""  # of `path`, where its bytes were hashed once and must still be the same; empty: not known
    identity: str = ""  # tells its bytes from those of any other model; empty: unknown

    def __post_init__(self) -> None:
        if not self.format:
            force_setattr(self, "format", _FORMATS.get(self.engine, self.engine))
