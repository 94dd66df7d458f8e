"""Options that several verbs share."""

import re
from typing import Annotated, Literal

import typer

from localllm.errors import ConfigError
from localllm.types import Guessing, Preference, Workload

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model name or path to a .gguf. [default: the starter model]", metavar="MODEL"),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Engine to run it, or auto: the fastest by measurement. [default: by its format]", metavar="NAME"
    ),
]
For = Annotated[
    Workload | None,
    typer.Option("--for", help="What --engine auto chooses for. [default: serving for serve, else chat]"),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, cpu, gpu, npu, or a name that `localllm devices` shows. [default: auto]", metavar="DEVICE"
    ),
]
Prefer = Annotated[
    Preference | None, typer.Option(help="battery, quiet: fewer threads on battery or heat. [default: speed]")
]
KvType = Annotated[
    Literal["auto", "f16", "q8_0"] | None, typer.Option(help="How KV is kept; q8_0 takes half, and is slower.")
]
AllowSmaller = Annotated[
    bool | None, typer.Option("--allow-smaller", help="A smaller quant here may do where the model does not load.")
]
EngineOption = Annotated[
    list[str] | None, typer.Option(help="Option of the engine, such as model_lib; repeatable.", metavar="NAME=VALUE")
]
Context = Annotated[
    int | None, typer.Option("--context", min=1, help="Tokens for a prompt with its answer.", metavar="TOKENS")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", metavar="N")]
FlashAttention = Annotated[
    bool | None,
    typer.Option(
        "--flash-attention/--no-flash-attention",
        help="Off: on a CPU, greedy answers do not depend on what else is running. [default: on for several at once]",
    ),
]
Parallel = Annotated[
    str | None, typer.Option(help="Answers at the same time, or auto. [default: sized from memory]", metavar="N")
]
MaxQueue = Annotated[
    int | None,
    typer.Option(min=0, help="Requests that may wait; more are told to come again. [default: 64]", metavar="N"),
]
Draft = Annotated[
    str | None,
    typer.Option(help="Smaller model with the same vocabulary, which guesses ahead.", metavar="MODEL"),
]
GuessingMode = Annotated[
    Guessing | None,
    typer.Option(
        "--guessing",
        help="Guess ahead from the text so far. exact: greedy and seeded answers come out as without; "
        "always: they may not, where two tokens are nearly as likely; off. [default: exact]",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(help="LoRA adapter that requests may use, from a .gguf; repeatable.", metavar="NAME=PATH"),
]
CacheBytes = Annotated[
    int | None,
    typer.Option(min=0, help="Disk for remembering prompts; 0: none. [default: 1 GiB]", metavar="BYTES"),
]
Offline = Annotated[bool | None, typer.Option("--offline", help="Make no connection: what is not here is an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def rate_of(text: str | None) -> int | None:
    """Bytes a second from 500K, 5M or a plain number; None where it is left out. Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text)
    rate = float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()] if match else 0.0
    if rate < 1:
        raise ConfigError(f"--limit-rate takes bytes a second, such as 500K or 5M; not {text!r}")
    return int(rate)


def parallel_of(text: str | None) -> int | None:
    """The number; None where it is left out or "auto". Raises ConfigError."""
    if text is None or text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"--parallel takes a number from 1 on, or auto; not {text!r}")
    return int(text)


def lora_of(texts: list[str] | None) -> dict[str, str] | None:
    """Paths by name; None where there are none. Raises ConfigError."""
    return _pairs_of("--lora", "NAME=PATH", texts)


def engine_options_of(texts: list[str] | None) -> dict[str, str] | None:
    """Values by name; None where there are none. Raises ConfigError."""
    return _pairs_of("--engine-option", "NAME=VALUE", texts)


def _pairs_of(option: str, form: str, texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    pairs = [text.partition("=") for text in texts]
    wrong = next((text for text, (name, _, value) in zip(texts, pairs, strict=True) if not name or not value), None)
    if wrong is not None:
        raise ConfigError(f"{option} takes {form}, not {wrong!r}")
    values = {name: value for name, _, value in pairs}
    if len(values) < len(pairs):
        raise ConfigError(f"{option}: {_named_twice(pairs)} is named twice")
    return values


def _named_twice(pairs: list[tuple[str, str, str]]) -> str:
    names = [name for name, _, _ in pairs]
    return next(name for name in names if names.count(name) > 1)
