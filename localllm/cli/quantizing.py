"""What `localllm quantize` does, and what it says of it."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from localllm.cli.quality import print_advice, print_evaluation
from localllm.cli.source import material_again, material_of, read_card
from localllm.cli.table import print_table
from localllm.cli.talk import say, stage_bar, stderr, warn
from localllm.config import Settings
from localllm.devices.cpu import available_memory_bytes, usable_cores
from localllm.errors import IntegrityError, InvalidRequest
from localllm.models.manifest import Manifest
from localllm.models.names import ModelName
from localllm.quantize.advice.candidates import AUTO_TYPES, LeftOut
from localllm.quantize.advice.frontier import Advice
from localllm.quantize.advice.trying import Tried, try_types
from localllm.quantize.calibration.texts import DEFAULT, evaluation_text
from localllm.quantize.evaluation import Evaluation
from localllm.quantize.making import Making
from localllm.quantize.material import Material, name_for
from localllm.quantize.measuring import Measuring
from localllm.quantize.order import Order
from localllm.quantize.process.workbench import Workbench, workbench
from localllm.quantize.programs import ProgramMaking, ProgramWish, label_of, making_of
from localllm.quantize.provenance.keeping import keep, native_tools
from localllm.quantize.provenance.repeating import Repeat
from localllm.quantize.steps import Exported, Progress, Quantized
from localllm.runtime.library import Library
from localllm.units import size_words


class MadeReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that was made, for scripts."""

    model: Manifest
    quantized: Quantized
    exported: Exported | None = None  # what exporting a program took
    evaluation: Evaluation | None = None
    is_same: bool | None = None  # as the card says it was, to the byte; None: it was not made from a card
    differences: tuple[str, ...] = ()  # between the tools then and now


class ExportPlan(Struct, frozen=True, kw_only=True):
    """What exporting a program would take, for scripts."""

    type: str
    context_tokens: int
    needed_bytes: int  # of memory, at the peak


class AutoReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was tried, for scripts."""

    advice: Advice
    left_out: tuple[LeftOut, ...]
    evaluations: dict[str, Evaluation]
    kept: Manifest | None = None


class Session:
    """One command: its library, and how it speaks."""

    def __init__(self, library: Library, settings: Settings, *, json: bool) -> None:
        self.threads = settings.threads or usable_cores()
        self._library = library
        self._json = json
        self._show: Callable[[str, float], None] = lambda _words, _share: None

    def follow(self, reference: str, order: Order, *, is_dry: bool, keeps: bool) -> None:
        """Do what was ordered. `keeps`: what is recommended is kept unasked."""
        if is_dry:
            self.dry_run(reference, order)
        elif order.is_auto:
            self.choose(reference, order, keeps=keeps)
        else:
            self.quantize(reference, order)

    def dry_run(self, reference: str, order: Order) -> None:
        """Say what would come out. That depends on whether there is an importance matrix, not on what is in it."""
        if isinstance(order.program, ProgramWish):
            self._dry_export(reference, order, order.program)
            return
        material = material_of(reference, self._library, order.check_quant)
        types = AUTO_TYPES if order.is_auto else (order.type,)
        with self._bench(material) as bench, self._stages():
            making = Making(material, msgspec.structs.replace(order.wish, calibration_chunks=1), bench)
            if order.wish.calibration is not None:
                making.check(types[0])
            plans = {type_: making.dry_run(type_) for type_ in types}
        if self._json:
            print(msgspec.json.encode(plans).decode())
            return
        print_table(
            ("TYPE", "SIZE", "BYTES", "BITS/WEIGHT", "FALLBACKS"),
            (
                (type_, size_words(plan.size_bytes), str(plan.size_bytes), f"{plan.bits_per_weight:.2f}",
                 f"{plan.fallbacks} of {len(plan.tensors)}")
                for type_, plan in plans.items()
            ),
            numbers=("SIZE", "BYTES", "BITS/WEIGHT", "FALLBACKS"),
        )  # fmt: skip
        say("Nothing was made.")

    def _dry_export(self, reference: str, order: Order, program: ProgramWish) -> None:
        """Say whether it can be done and what it takes; how large it comes out is not known before."""
        material = material_of(reference, self._library, order.check_quant)
        with self._bench(material) as bench, self._stages():
            making = ProgramMaking(material, order.wish, bench, program)
            making.check(order.type)
            needed_bytes = making.needed_bytes(order.type)
            plan = ExportPlan(type=order.type, context_tokens=making.context_tokens, needed_bytes=needed_bytes)
        if self._json:
            print(msgspec.json.encode(plan).decode())
            return
        say(
            f"{order.type} with a context of {plan.context_tokens} tokens can be exported; that takes about "
            f"{size_words(plan.needed_bytes)} of memory. Nothing was made."
        )

    def quantize(self, reference: str, order: Order) -> None:
        """Make one type, measure it if wanted, and keep it."""
        material = material_of(reference, self._library, order.check_quant)
        name = self._free_name(material, order.label, order.name)
        with self._bench(material) as bench, self._stages():
            making = making_of(material, order.wish, bench, order.program)
            needed_bytes = making.needed_bytes(order.type)
            if needed_bytes is not None:
                say(needs_words(needed_bytes))
            if order.takes_long:
                making.check(order.type)
            measuring = None
            if order.text is not None:
                measuring = Measuring(making, order.text, order.evaluation_chunks)
                measuring.read_source()
            made = making.make(order.type)
            evaluation = measuring.evaluate(made) if measuring is not None else None
            manifest = keep(made, making, evaluation, name, self._library.store)
        report = MadeReport(model=manifest, quantized=made.quantized, exported=made.exported, evaluation=evaluation)
        self._tell(report)

    def choose(self, reference: str, order: Order, *, keeps: bool) -> None:
        """Try the types that fit, say which to take, and keep that one if the user agrees."""
        material = material_of(reference, self._library, order.check_quant)
        names = {type_: self._free_name(material, type_, order.name) for type_ in AUTO_TYPES}
        with self._bench(material) as bench:
            making = Making(material, order.wish, bench)
            with self._stages():
                measuring = Measuring(making, order.text or evaluation_text(DEFAULT), order.evaluation_chunks)
                tried = try_types(making, measuring, AUTO_TYPES, available_memory_bytes())
            if not self._json:
                print_advice(tried.advice, tried.left_out, Console(highlight=False))
            type_ = tried.advice.type
            kept = None
            if keeps or self._agreed(type_, names[type_]):
                with self._stages():
                    made, evaluation = tried.made[type_], tried.evaluations[type_]
                    kept = keep(made, making, evaluation, names[type_], self._library.store)
        self._tell_choice(tried, kept)

    def again(self, card: str, *, source: str | None, name: str | None, calibrate: str | None) -> None:
        """Make a model again from its card, and say whether it is the same. `source` and `calibrate`: where what it was
        made from is now, if that is elsewhere."""
        made_before, own_name = read_card(card, self._library)
        repeat = Repeat(made=made_before)
        recipe = made_before.recipe
        if source is None:
            material = material_again(made_before, self._library)
        else:
            material = material_of(source, self._library, lambda _quant, _name: None)
        repeat.check_source(material)
        wish = repeat.wish(calibrate)
        wanted = self._free_name(material, label_of(recipe.type, repeat.program), name or own_name)
        with self._bench(material) as bench, self._stages():
            differences = repeat.differences(native_tools(bench, recipe.format))
            making = making_of(material, wish, bench, repeat.program)
            made = making.make(recipe.type)
            is_same = repeat.is_same(made)
            if not (is_same or differences):
                raise IntegrityError(
                    f"with the same tools and source, {recipe.type} came out otherwise; nothing was kept"
                )
            evaluation = made_before.evaluation if is_same else None
            manifest = keep(made, making, evaluation, wanted, self._library.store)
        report = MadeReport(
            model=manifest,
            quantized=made.quantized,
            exported=made.exported,
            evaluation=evaluation,
            is_same=is_same,
            differences=tuple(differences),
        )
        self._tell(report)

    @contextmanager
    def _bench(self, material: Material) -> Generator[Workbench, None, None]:
        def observe(words: str, progress: Progress) -> None:
            self._show(words, progress.done / progress.total if progress.total else 0.0)

        with workbench(self._library.store, material.name, self.threads, observe) as bench:
            yield bench

    @contextmanager
    def _stages(self) -> Generator[None, None, None]:
        try:
            with stage_bar() as self._show:
                yield
        except KeyboardInterrupt:
            say("Interrupted. Nothing was kept.")
            raise

    def _free_name(self, material: Material, type_: str, wanted: str | None) -> ModelName:
        name = name_for(material, type_, wanted)
        if name.lower() == material.reference.lower():
            raise InvalidRequest(f"{name} is what it would be made from; choose another name with --name")
        return self._library.name_for_made(name, is_wanted=wanted is not None)

    def _agreed(self, type_: str, name: str) -> bool:
        is_attended = stderr.is_terminal and sys.stdin is not None and sys.stdin.isatty()
        if self._json or not is_attended:
            return False
        return typer.confirm(f"Keep {type_} as {name}?", default=False, err=True)

    def _tell(self, report: MadeReport) -> None:
        if self._json:
            print(msgspec.json.encode(report).decode())
            return
        for warning in report.quantized.warnings:
            warn(warning)
        if report.evaluation is not None:
            print_evaluation(report.evaluation, Console(highlight=False))
        if report.exported is not None:
            say(effort_words(report.exported))
        say(made_words(report.model, report.quantized))
        if report.is_same is not None:
            say(same_words(report))

    def _tell_choice(self, tried: Tried, kept: Manifest | None) -> None:
        if self._json:
            report = AutoReport(advice=tried.advice, left_out=tried.left_out, evaluations=tried.evaluations, kept=kept)
            print(msgspec.json.encode(report).decode())
        elif kept is not None:
            say(made_words(kept, tried.made[tried.advice.type].quantized))
        else:
            say(f"Nothing was kept. To make it, give the same command with --type {tried.advice.type}.")


def needs_words(needed_bytes: int) -> str:
    """What making a program takes, before it begins."""
    needed, free = size_words(needed_bytes), size_words(available_memory_bytes())
    return f"Exporting takes some minutes and about {needed} of memory; {free} are free."


def effort_words(exported: Exported) -> str:
    """What exporting took, in a sentence."""
    minutes, seconds = divmod(round(sum(exported.seconds.values())), 60)
    duration = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return (
        f"Exporting took {duration} and {size_words(exported.peak_memory_bytes)} of memory; "
        f"{exported.delegated} of {exported.delegated + exported.undelegated} operations are the delegate's."
    )


def made_words(manifest: Manifest, plan: Quantized) -> str:
    """What was made, in a sentence or two."""
    fallbacks = ""
    if plan.fallbacks:
        count = f"{plan.fallbacks} of {len(plan.tensors)} tensors"
        fallbacks = f" In {count} the rows do not fit the type, and a finer one was taken."
    return (
        f"{manifest.name} is here now: {size_words(plan.size_bytes)}, {plan.bits_per_weight:.2f} bits per weight."
        f'{fallbacks} Try it: localllm run --model {manifest.name} "Hello"'
    )


def same_words(report: MadeReport) -> str:
    """Whether what was made again is what it was, and if not, why that may be."""
    if report.is_same:
        return "It is the same, bit for bit."
    return f"It is not the same, because other tools made it: {'; '.join(report.differences)}."
