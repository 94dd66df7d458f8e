"""`localllm devices`: what this machine has, and what the engines can use of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options

if TYPE_CHECKING:
    from localllm.engines.back_ends import BackEnd, Device, EngineReport

NAME = "devices"
EPILOG = """\b
Examples:
  localllm devices
  localllm devices executorch
  localllm devices --json
"""
_HEADING_COLUMNS = 14  # for what a line is about
_TEXT_COLUMNS = _HEADING_COLUMNS + 5  # with yes or no behind it


def command(
    engines: Annotated[
        list[str] | None, typer.Argument(help="Engines to ask, such as llama_cpp. [default: all]", metavar="ENGINE")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show this machine, and what the engines can compute on here."""
    import msgspec

    from localllm.cli.folding import fold, line_columns
    from localllm.cli.machine_facts import machine_facts
    from localllm.engines.registry import real_engines
    from localllm.runtime.probing import take_inventory

    found = take_inventory(tuple(dict.fromkeys(engines or real_engines())))
    if json:
        print(msgspec.json.encode(found).decode())
        return
    columns = line_columns()
    for heading, text in machine_facts(found.machine):
        if text:
            print("\n".join(fold(heading, text, indent=_HEADING_COLUMNS, columns=columns)))
    for report in found.engines:
        print()
        print("\n".join(_lines(report, columns)))


def _lines(report: "EngineReport", columns: int) -> Iterator[str]:
    """An engine: a line for itself, then those of its back ends."""
    words = "; ".join(filter(None, (report.build, report.reason)))
    yield from _row(report.engine, report.is_usable, words, columns)
    yield from _remedy(report.remedy, columns)
    for back_end in report.back_ends:
        yield from _back_end_lines(back_end, columns)


def _back_end_lines(back_end: "BackEnd", columns: int) -> Iterator[str]:
    """A line for each device; why it is usable or not, and what would change that."""
    first, *others = [_device(device) for device in back_end.devices] or [""]
    words = "; ".join(filter(None, (first, back_end.reason)))
    yield from _row(f"  {back_end.name}", back_end.is_usable, words, columns)
    for other in others:
        yield from _row("", None, other, columns)
    if not back_end.is_usable:
        yield from _remedy(back_end.remedy, columns)


def _row(heading: str, is_usable: bool | None, text: str, columns: int) -> list[str]:
    from localllm.cli.folding import fold

    answer = "" if is_usable is None else "yes" if is_usable else "no"
    return fold(f"{heading:{_HEADING_COLUMNS - 1}} {answer}", text, indent=_TEXT_COLUMNS, columns=columns)


def _remedy(remedy: str, columns: int) -> list[str]:
    """Below a no: a package, a driver, another machine."""
    return _row("", None, f"to change that: {remedy}", columns) if remedy else []


def _device(device: "Device") -> str:
    from localllm.units import size_words

    text = f"{device.name}: {device.description}" if device.description else device.name
    if device.memory_total_bytes is None:
        return text
    total, free = size_words(device.memory_total_bytes), device.memory_free_bytes
    return f"{text}, {total}" if free is None else f"{text}, {size_words(free)} of {total} free"
