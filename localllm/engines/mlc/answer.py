"""What MLC's stream says of one answer, as emissions."""

import msgspec

from localllm.engines.mlc.native import Chunk, Usage
from localllm.engines.pipeline import Emission
from localllm.errors import EngineError
from localllm.types import FinishReason

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Answer:
    """One stream. MLC gives text without its tokens: a chunk counts as one until the usage, which comes last, is known.

    So the end is held back until then: it counts what is missing, such as the tokens of a character in several.
    """

    def __init__(self, job_id: int) -> None:
        self._job_id = job_id
        self._told_tokens = 0
        self._last_text = ""
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def take(self, chunk: Chunk) -> Emission | None:
        """What a chunk brings at once. Raises EngineError for an end that is none of an answer."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        text = "".join(choice.text for choice in chunk.choices)
        reason = next((choice.finish_reason for choice in chunk.choices if choice.finish_reason is not None), None)
        if reason is None and self._reason is None:
            return self._more(text)
        self._last_text += text
        if reason is not None:
            self._reason = _REASONS.get(reason)
            if self._reason is None:
                raise EngineError(f"MLC ended an answer with {reason[:40]!r}")
        return None

    def end(self) -> Emission:
        """The end, after the last chunk. Raises EngineError where none was told."""
        if self._reason is None:
            raise EngineError("MLC ended an answer without a reason")
        usage, missing, cached = self._usage, 1 if self._last_text else 0, 0
        if usage is not None:
            made = usage.completion_tokens - (self._reason == "stop")  # without the one that ended it
            missing = max(0, made - self._told_tokens)
            cached = _cached_tokens(usage)
        return Emission(
            job_id=self._job_id,
            text=self._last_text,
            text_tokens=missing,
            cached_tokens=cached,
            finish=self._reason,
        )

    def _more(self, text: str) -> Emission | None:
        if not text:
            return None
        self._told_tokens += 1
        return Emission(job_id=self._job_id, text=text, text_tokens=1)


def joined(first: Emission, second: Emission) -> Emission:
    """Two emissions of one answer as one."""
    return msgspec.structs.replace(
        second, text=first.text + second.text, text_tokens=first.text_tokens + second.text_tokens
    )


def _cached_tokens(usage: Usage) -> int:
    """Of the prompt, those that were not read (mlc-llm cpp/serve/metrics.cc)."""
    read = (usage.extra or {}).get("prefill_tokens")
    return max(0, usage.prompt_tokens - int(read)) if isinstance(read, int | float) else 0
