"""`localllm plan`: what a model would need, before it is downloaded, and where it would run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from localllm.cli import options
from localllm.config import Settings, load_settings

if TYPE_CHECKING:
    from localllm.runtime.library import Library
    from localllm.runtime.outlook import Outlook
    from localllm.runtime.planning.wishes import ModelPlan
    from localllm.runtime.program_outlook import ProgramOutlook

NAME = "plan"
SPEED_WORDS = {
    "instant": "an answer is there at once",
    "fast": "faster than one reads",
    "reading": "as fast as one reads",
    "slow": "slower than one reads",
    "crawling": "something to leave running",
}
EPILOG = """\b
Examples:
  localllm plan qwen3:4b
  localllm plan org/repo:Q4_K_M --context 16384
  localllm plan qwen3:4b --device gpu --prefer quiet
  localllm plan ./model.gguf --json
"""


def command(
    model: Annotated[str, typer.Argument(help="Any model: known, on the hub, on this disk.")],
    device: options.Device = None,
    prefer: options.Prefer = None,
    context: options.Context = None,
    parallel: options.Parallel = None,
    threads: options.Threads = None,
    kv_type: options.KvType = None,
    offline: options.Offline = None,
    json: options.Json = False,
) -> None:
    """Say what a model needs, where it runs here, and how fast.

    Nothing is downloaded but the header of its file.
    """
    import msgspec

    from localllm.cli.table import print_fields
    from localllm.errors import NoRoom
    from localllm.runtime.library import Library

    settings = load_settings(
        offline=offline,
        device=device,
        prefer=prefer,
        context=context,
        parallel=options.parallel_of(parallel),
        threads=threads,
        kv_type=kv_type,
    )
    sheet = _Sheet(*_look(Library(settings), model), settings)
    if json:
        print(msgspec.json.encode(sheet.told()).decode())
    else:
        print_fields(sheet.fields())
    if not sheet.fits:
        raise NoRoom(f"{sheet.name} does not fit: {'; '.join(sheet.outlook.forecast.reasons)}")


def _look(library: "Library", reference: str) -> "tuple[str, int, str, Outlook | ProgramOutlook]":
    """Name, bytes to download, why this quant, and what to expect."""
    from localllm.models.local import LocalModel

    found = library.resolve(reference)
    if isinstance(found, LocalModel):
        return found.id, 0, "", library.outlook_here(found)
    wanted = library.choose(found)
    return str(wanted.name), library.missing_bytes(wanted), wanted.reason, library.outlook_there(wanted)


class _Sheet:
    """What is said of a model."""

    def __init__(
        self, name: str, download_bytes: int, quant_reason: str, outlook: "Outlook | ProgramOutlook", settings: Settings
    ) -> None:
        """Raises EngineUnavailable, ConfigError, NoRoom for a device that is wished for and cannot be."""
        self.name = name
        self._download_bytes = download_bytes
        self._quant_reason = quant_reason
        self.outlook = outlook
        self._plan = _plan(outlook, settings)
        if self._plan.kv_type != "f16" and not self._plan.placement.devices:
            self.outlook = _with_small_kv(outlook, self._plan)

    @property
    def fits(self) -> bool:
        """Whether it does, on a GPU or beside it where it is planned there."""
        return bool(self._plan.placement.devices) or self.outlook.forecast.fits

    def told(self) -> dict[str, object]:
        """For scripts; what a template looks like is of no use to them."""
        import msgspec

        from localllm.runtime.program_outlook import ProgramOutlook

        facts: dict[str, object] = msgspec.to_builtins(self.outlook.facts)
        if not isinstance(self.outlook, ProgramOutlook):
            facts |= {"bits_per_weight": round(self.outlook.facts.bits_per_weight, 3)}
            facts.pop("chat_template")
        names = {"name": self.name, "download_bytes": self._download_bytes, "quant_reason": self._quant_reason}
        told: dict[str, object] = msgspec.to_builtins(self.outlook)
        told.pop("shape", None)
        plan: dict[str, object] = msgspec.to_builtins(self._plan)
        return names | told | {"device": self._plan.device, "facts": facts, "plan": plan}

    def fields(self) -> Iterator[tuple[str, str]]:
        """For a person."""
        from localllm.units import size_words

        forecast = self.outlook.forecast
        yield "name", self.name
        yield from _facts(self.outlook)
        yield "", self._quant_reason
        yield "download", size_words(self._download_bytes) if self._download_bytes else "nothing, it is on this disk"
        yield "runs on", f"{self.outlook.engine}, {self._plan.device}"
        if self.fits:
            yield from self._chosen()
        if self._plan.placement.devices:
            yield from _under("because", self._plan.reasons)
            return
        if forecast.speed_class is not None:
            yield "speed", f"{forecast.speed_class}: {SPEED_WORDS[forecast.speed_class]}"
        if forecast.fits:
            yield from _under(
                "needs" if forecast.speed_class is None else "because", (*forecast.reasons, *self._plan.reasons)
            )

    def _chosen(self) -> Iterator[tuple[str, str]]:
        from localllm.devices.cpu import usable_cores

        plan, forecast = self._plan, self.outlook.forecast
        tokens, jobs = plan.context_tokens or forecast.context_tokens, plan.jobs or forecast.jobs
        if plan.placement.devices:
            yield "layers", f"{plan.placement.gpu_layers} of {plan.layers} on {', '.join(plan.placement.devices)}"
        yield "context", f"{tokens} tokens" if tokens else ""
        yield "at once", f"{jobs} answers" if jobs > 1 else "1 answer"
        yield "threads", str(plan.threads) if plan.threads else f"up to {usable_cores()}, as other programs leave free"
        yield "KV", plan.kv_type if self.outlook.engine == "llama_cpp" else ""


def _plan(outlook: "Outlook | ProgramOutlook", settings: Settings) -> "ModelPlan":
    from localllm.runtime.planning.gguf import plan_gguf
    from localllm.runtime.planning.plans import plan_program, reports_for
    from localllm.runtime.planning.wishes import Machine, Wishes
    from localllm.runtime.probing import probe_engines
    from localllm.runtime.program_outlook import ProgramOutlook

    wishes = Wishes.of(settings)
    if isinstance(outlook, ProgramOutlook):
        return plan_program(outlook.facts.backends, wishes)
    reports = reports_for(outlook.engine, wishes.device, probe=probe_engines)
    return plan_gguf(outlook.shape, wishes, Machine.here(), reports[0] if reports else None)


def _with_small_kv(outlook: "Outlook | ProgramOutlook", plan: "ModelPlan") -> "Outlook | ProgramOutlook":
    """What to expect with the type of KV that was planned."""
    from localllm.runtime.outlook import Outlook, with_kv_type

    if not isinstance(outlook, Outlook):
        return outlook
    return with_kv_type(outlook, plan.kv_type, context=plan.context_tokens, jobs=plan.jobs)


def _facts(outlook: "Outlook | ProgramOutlook") -> Iterator[tuple[str, str]]:
    from localllm.cli.words import count_words
    from localllm.runtime.program_outlook import ProgramOutlook
    from localllm.units import size_words

    if isinstance(outlook, ProgramOutlook):
        layers = f", {outlook.facts.layers} layers" if outlook.facts.layers else ""
        yield "program", f"{size_words(outlook.facts.size_bytes)}{layers}"
        return
    facts = outlook.facts
    yield "architecture", f"{facts.architecture}, {count_words(facts.parameters)} parameters"
    yield "quant", f"{facts.quant} ({facts.bits_per_weight:.2f} bits per weight)"


def _under(heading: str, lines: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    yield from zip((heading, *[""] * len(lines)), lines, strict=False)
