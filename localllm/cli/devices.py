"""`localllm devices`: what the engines can use on this machine."""

from collections.abc import Iterator, Sequence
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


def command(
    engines: Annotated[
        list[str] | None, typer.Argument(help="Engines: llama_cpp, executorch. [default: both]", metavar="ENGINE")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what the engines can compute on here."""
    import msgspec

    from localllm.cli.table import print_fields, print_table
    from localllm.cli.talk import say
    from localllm.devices.cpu import available_memory_bytes, processor_name, usable_cores
    from localllm.engines.probe import ENGINES
    from localllm.runtime.probing import probe_engines
    from localllm.units import size_words

    reports = probe_engines(tuple(dict.fromkeys(engines or ENGINES)))
    name, cores, memory_bytes = processor_name(), usable_cores(), available_memory_bytes()
    if json:
        cpu = {"name": name, "cores": cores, "memory_available_bytes": memory_bytes}
        print(msgspec.json.encode({"cpu": cpu, "engines": reports}).decode())
        return
    print_fields((("processor", name), ("cores", str(cores)), ("memory", f"{size_words(memory_bytes)} available")))
    print()
    headings = ("ENGINE", "BACK END", "USABLE", "DEVICE", "MEMORY", "REASON")
    print_table(headings, (row for report in reports for row in _rows(report)))
    for line in _remedies(reports):
        say(line)


def _rows(report: "EngineReport") -> Iterator[tuple[str, ...]]:
    if report.reason or not report.back_ends:
        yield report.engine, "", _yes(report.is_usable), "", "", report.reason
    for back_end in report.back_ends:
        devices = back_end.devices or (None,)
        for place, device in enumerate(devices):
            reason = back_end.reason if not place else ""
            usable = _yes(back_end.is_usable)
            yield report.engine, back_end.name, usable, _device(device), _memory(device), reason


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _device(device: "Device | None") -> str:
    if device is None:
        return ""
    return f"{device.name}: {device.description}" if device.description else device.name


def _memory(device: "Device | None") -> str:
    from localllm.units import size_words

    if device is None or device.memory_total_bytes is None:
        return ""
    total = size_words(device.memory_total_bytes)
    free = device.memory_free_bytes
    return total if free is None else f"{size_words(free)} of {total} free"


def _remedies(reports: "Sequence[EngineReport]") -> Iterator[str]:
    """What would make usable what is not, a line for each."""
    for report in reports:
        if report.remedy:
            yield f"For {report.engine}: {report.remedy}"
        for back_end in report.back_ends:
            if not back_end.is_usable and back_end.remedy:
                yield f"For {report.engine} on {_plain(back_end)}: {back_end.remedy}"


def _plain(back_end: "BackEnd") -> str:
    return "a GPU" if back_end.name == "GPU" else back_end.name
