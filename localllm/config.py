"""Settings: the config file, then the environment, then options. The only reader of the environment."""

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs
from msgspec import Meta, Struct

from localllm.errors import ConfigError
from localllm.types import Guessing, Preference, Priority, Workload

ENV_PREFIX = "LOCALLLM_"
DEFAULT_PORT = 11500

Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]
Connections = Annotated[int, Meta(ge=1, le=16)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class ClientKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A client's key, and how its requests rank."""

    key: Annotated[str, Meta(min_length=1)]
    priority: Priority = "interactive"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting. In `config.toml` by these names; in the environment as LOCALLLM_<NAME>."""

    model: str = "smollm2:135m"  # the model to use where none is named
    home: str = ""  # where models are kept; empty: the platform's data folder
    host: str = "127.0.0.1"  # address that `serve` binds
    port: Port = DEFAULT_PORT  # port that `serve` binds; 0 picks a free one
    api_key: str = ""  # key that clients of `serve` must send; empty: none
    engine: str = ""  # that runs models; auto: the fastest by measurement; empty: the usual one for their format
    workload: Workload | None = None  # what the engine is chosen for; unset: serving for `serve`, else chat
    device: str = "auto"  # where models compute: auto, cpu, gpu, npu, or a name as `localllm devices` shows it
    prefer: Preference = "speed"  # what gives way on battery and heat: speed, battery or quiet
    kv_type: Literal["auto", "f16", "q8_0"] = "auto"  # how KV is kept; auto: f16 where that fits
    allow_smaller: bool = False  # whether a smaller quant of the same model may do where the one named does not load
    engine_options: dict[str, str] = {}  # of one engine alone, by name
    context: Positive | None = None  # tokens for each answer with its prompt; unset: the most that fits
    parallel: Positive | None = None  # answers generated at the same time; unset: sized from memory
    threads: Positive | None = None  # CPU threads; unset: the physical cores this process may use
    flash_attention: bool | None = None  # unset: as fits the device and the number of answers at once
    max_queue: NonNegative = 64  # requests that may wait for their turn; more are told to come again
    cache_bytes: NonNegative = 2**30  # disk that `serve` may use to remember prompts it has read; 0: none
    share_cache: bool = False  # whether a remembered prompt may serve the requests of other keys
    volatile_lines: tuple[str, ...] = ("x-anthropic-billing-header:",)  # beginnings of system prompt lines left out
    guessing: Guessing = "exact"  # guess ahead where that is faster; exact: greedy and seeded answers stay the same
    draft: str = ""  # smaller model of the same vocabulary that guesses ahead; empty: none
    lora: dict[str, str] = {}  # LoRA adapters that requests may use: path by name
    keys: dict[str, ClientKey] = {}  # more keys, each for a client of its own: by the client's name
    offline: bool = False  # make no connection to fetch anything
    download_limit: NonNegative = 0  # bytes a second that downloads may take; 0: no limit
    connections: Connections = 4  # that a download uses side by side
    signatures: Literal["require", "warn", "off"] = "off"  # whether a model from the hub must be signed
    signing_key: str = ""  # public key of who signed it: path to a PEM file

    @property
    def home_path(self) -> Path:
        """The folder of everything localllm keeps."""
        return Path(self.home).expanduser() if self.home else Path(platformdirs.user_data_dir("localllm"))


def load_settings(environment: Mapping[str, str] | None = None, **options: object) -> Settings:
    """Settings from file, environment and options, later ones winning; an option of None was not given.

    Raises ConfigError, naming the setting and where it came from.
    """
    env = os.environ if environment is None else environment
    values: dict[str, object] = dict(_from_file(config_path(env)))
    for name in Settings.__struct_fields__:
        text = env.get(ENV_PREFIX + name.upper())
        if text:
            source = f"{ENV_PREFIX}{name.upper()}"
            values[name] = _convert({name: _from_text(name, text, source)}, source, strict=False)[name]
    values.update({name: value for name, value in options.items() if value is not None})
    _convert(values, "the options", strict=True)
    return Settings(**values)  # type: ignore[arg-type]  # each value was checked by msgspec above


def config_path(environment: Mapping[str, str] | None = None) -> Path:
    """The config file: LOCALLLM_CONFIG, or config.toml in the platform's config folder."""
    env = os.environ if environment is None else environment
    chosen = env.get(ENV_PREFIX + "CONFIG")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_config_dir("localllm")) / "config.toml"


def _from_file(path: Path) -> dict[str, object]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return _convert(values, str(path), strict=True)


def _from_text(name: str, text: str, source: str) -> object:
    """Lists and tables are JSON in the environment."""
    if not isinstance(getattr(Settings(), name), dict | tuple):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source} is not JSON: {error}") from error


def _convert(values: Mapping[str, object], source: str, *, strict: bool) -> dict[str, object]:
    try:
        checked = msgspec.convert(dict(values), Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
    return {name: getattr(checked, name) for name in values}


def worker_environment() -> dict[str, str]:
    """The environment of a model's process.

    No secrets; a native abort ends it instead of forking a debugger.
    """
    secret = ("TOKEN", "API_KEY", "_KEYS", "PASSWORD", "SECRET")
    kept = {name: value for name, value in os.environ.items() if not any(word in name for word in secret)}
    return kept | {"GGML_NO_BACKTRACE": "1"}


def llama_library_folder(environment: Mapping[str, str] | None = None) -> Path | None:
    """Where llama-cpp-python takes its native libraries from, if not from its own folder (its `_ctypes_extensions`)."""
    env = os.environ if environment is None else environment
    return _folder(env.get("LLAMA_CPP_LIB_PATH"))


def download_environment(scratch: Path) -> dict[str, str]:
    """The environment of a downloader that must keep its temporary files in `scratch`."""
    return dict(os.environ) | {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}


def silence_hub_telemetry() -> None:
    """Ask huggingface_hub, before it is imported, to report nothing to its makers."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


class ForeignFolders(Struct, frozen=True, kw_only=True):
    """Where other programs keep models on this machine, each the likeliest first. Few of these exist anywhere."""

    ollama: tuple[Path, ...]  # each with manifests/ and blobs/
    lm_studio: tuple[Path, ...]  # its homes, each with models/ and perhaps a settings.json
    lm_studio_pointer: Path  # a file that names its home where the user moved it
    hugging_face: Path  # the cache of the hub
    llama_cpp: tuple[Path, ...]


def foreign_folders(environment: Mapping[str, str] | None = None) -> ForeignFolders:
    """The places of other programs, by the environment variables that each of them reads itself.

    Ollama: docs/faq.mdx and the packages of Arch and NixOS. LM Studio: `lms`, src/lmstudioPaths.ts, and the home of
    its versions before 0.3. The hub: huggingface_hub/constants.py. llama.cpp: `fs_get_cache_directory`.
    """
    env = os.environ if environment is None else environment
    home = Path(os.path.expanduser("~"))
    linux = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama")
    caches = _folder(env.get("XDG_CACHE_HOME")) or home / ".cache"
    hugging_face = _folder(env.get("HF_HOME")) or caches / "huggingface"
    return ForeignFolders(
        ollama=(
            _folder(env.get("OLLAMA_MODELS", "").strip().strip("\"'")) or home / ".ollama" / "models",
            *(Path(folder) for folder in linux if sys.platform == "linux"),
        ),
        lm_studio=(home / ".lmstudio", home / ".cache" / "lm-studio"),
        lm_studio_pointer=home / ".lmstudio-home-pointer",
        hugging_face=_folder(env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")) or hugging_face / "hub",
        llama_cpp=(_folder(env.get("LLAMA_CACHE")) or _platform_caches(env, home, caches) / "llama.cpp",),
    )


def _folder(text: str | None) -> Path | None:
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _platform_caches(env: Mapping[str, str], home: Path, caches: Path) -> Path:
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    if sys.platform == "win32":
        return _folder(env.get("LOCALAPPDATA")) or home / "AppData" / "Local"
    return caches
