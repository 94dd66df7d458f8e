"""The status line: which model, how full its context is, and how fast it was."""

from typing import NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from localllm.types import Event, Finished, ModelInfo, PromptProgress, Queued, TextDelta, Usage

NEARLY_FULL = 0.8  # share of the context from which on the line warns
SEPARATOR = " · "
NO_MODEL = "no model"


class Part(NamedTuple):
    """A piece of the line. Where room is short, those of the highest rank go first."""

    rank: int
    text: str
    style: str = ""


class StatusLine(Widget):
    """Takes what happens; shows what fits."""

    def __init__(self) -> None:
        super().__init__()
        self._model: ModelInfo | None = None
        self._activity = ""
        self._used_tokens = 0  # of the context
        self._usage: Usage | None = None  # of the last answer; none while one is on its way

    def show_model(self, model: ModelInfo) -> None:
        """Show this model, and its engine if it is loaded."""
        self._model = model
        self.refresh()

    def show_activity(self, text: str) -> None:
        """Say what is going on; empty: nothing."""
        if text != self._activity:  # deltas come faster than anyone reads
            self._activity = text
            self.refresh()

    def forget(self) -> None:
        """Show no answer's numbers."""
        self._count(0, None)

    def take(self, event: Event) -> None:
        """Show what an event of an answer tells."""
        match event:
            case Queued():
                self.show_activity(event.words)
            case PromptProgress(done_tokens=done, total_tokens=total):
                self.show_activity(f"reading {done}/{total}")
                self._count(total, None)
            case TextDelta():
                self.show_activity("answering")
            case Finished(usage=usage):
                self._count(usage.prompt_tokens + usage.completion_tokens, usage)

    @property
    def model(self) -> ModelInfo | None:
        """What is shown."""
        return self._model

    @property
    def context_tokens(self) -> int:
        """Size of the context; 0 while the model is not loaded."""
        engine = self._model.engine if self._model else None
        return engine.context_tokens if engine else 0

    def render(self) -> Content:
        """The line."""
        return Content(SEPARATOR).join(
            Content.styled(part.text, part.style) for part in fitting(self._parts(), self.content_size.width)
        )

    def _count(self, used_tokens: int, usage: Usage | None) -> None:
        self._used_tokens, self._usage = used_tokens, usage
        self.refresh()

    def _parts(self) -> list[Part]:
        model, usage = self._model, self._usage
        engine = model.engine if model else None
        parts = [Part(0, self._activity, "$text-accent bold")] if self._activity else []
        parts.append(Part(2, model.id if model else NO_MODEL, "bold"))
        if engine:
            parts.append(Part(5, f"{engine.engine}/{engine.device}"))
            parts.append(context_part(self._used_tokens, engine.context_tokens))
        if model and model.fallbacks:
            parts.append(Part(1, "loaded with less, /why", "$text-warning"))
        if usage:
            parts.append(Part(3, f"{usage.tokens_per_second:.1f} tok/s"))
            parts.append(Part(4, f"first token {usage.first_token_seconds:.2f} s"))
        return parts


def context_part(used: int, context_tokens: int) -> Part:
    """How full the context is, in words once it is nearly full."""
    share = used / context_tokens
    if share >= NEARLY_FULL:
        return Part(1, f"context {share:.0%} full, /clear starts anew", "$text-warning bold")
    return Part(1, f"context {_short(used)}/{_short(context_tokens)} ({share:.0%})")


def fitting(parts: list[Part], width: int) -> list[Part]:
    """The parts that fit side by side, the least of them left out."""
    kept = list(parts)
    while len(kept) > 1 and cell_len(SEPARATOR.join(part.text for part in kept)) > width:
        kept.remove(max(kept))
    return kept


def _short(number: int) -> str:
    return str(number) if number < 1000 else f"{number / 1000:.1f}k"
