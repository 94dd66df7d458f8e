"""A model on this disk, ready to be loaded."""

from msgspec import Struct

from localllm.types import ModelDefaults


class LocalModel(Struct, frozen=True, kw_only=True):
    """What an engine needs to load a model, and what its answers default to."""

    id: str  # the name that requests use
    engine: str
    path: str
    parts: tuple[str, ...] = ()  # of a model in several files: all of them in order; `path` is the first
    created: int  # Unix time of its arrival
    size_bytes: int
    defaults: ModelDefaults
    beside: dict[str, str] = {}  # more files that belong to it: paths by name, such as tokenizer.json
    sha256: str = ""  # of `path`, where its bytes were hashed once and must still be the same; empty: not known
    identity: str = ""  # tells its bytes from those of any other model; empty: unknown
