"""Where a model runs, in sentences for the person at the terminal."""

from localllm.types import ModelInfo


def placement_words(model: ModelInfo) -> list[str]:
    """A loaded model's engine and device, why those, and what was given up to load it."""
    engine = model.engine
    if engine is None:
        return [f"{model.id} is not loaded."]
    together = "one answer at a time" if engine.max_jobs == 1 else f"{engine.max_jobs} answers at once"
    place = f"{model.id} runs on {engine.device} by {engine.engine} ({engine.build})"
    first = f"{place}, {_threads(engine.threads)}, {together}."
    return [first, *(_sentence(words) for words in (*model.reasons, *model.fallbacks))]


def _sentence(words: str) -> str:
    capital = words[:1].upper() + words[1:]
    return capital if capital.endswith((".", "!", "?")) else f"{capital}."


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
