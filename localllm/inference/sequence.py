"""A job in the batcher: its tokens, how many of them are in KV, and how its text leaves."""

import time
from array import array

from localllm.engines.base import Logits, Tokenizer
from localllm.engines.job import Delta, Job
from localllm.inference.detokenize import Detokenizer
from localllm.inference.sampling import Sampler
from localllm.inference.stops import StopMatcher
from localllm.types import FinishReason, Usage


class Sequence:
    """Prompt and answer of one job. `tokens[:position]` are in KV; the rest waits to be decoded."""

    def __init__(self, job: Job, tokenizer: Tokenizer, context_tokens: int) -> None:
        self.job = job
        self.tokens = array("i", job.tokens)
        self.position = 0
        self.slot = -1
        self.is_finished = False
        self._cached_tokens = 0
        self._end_tokens = tokenizer.end_tokens
        self._limit = context_tokens  # of prompt and answer together
        if job.sampling.max_tokens is not None:
            self._limit = min(self._limit, len(job.tokens) + job.sampling.max_tokens)
        self._sampler = Sampler(job.sampling, tokenizer, job.tokens)
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopMatcher(job.sampling.stop)
        self._arrived = time.perf_counter()
        self._admitted = self._first_token = self._last_token = 0.0

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.job.tokens)

    @property
    def is_decoding(self) -> bool:
        """Whether the prompt is read and the answer has begun."""
        return self.answer_tokens > 0

    @property
    def pending_tokens(self) -> int:
        """Tokens not yet in KV: the rest of the prompt, or the last token of the answer."""
        return len(self.tokens) - self.position

    def admit(self, slot: int, cached_tokens: int) -> None:
        """Take a slot that already holds the first tokens of the prompt."""
        self.slot = slot
        self.position = self._cached_tokens = cached_tokens
        self._admitted = time.perf_counter()

    def accept(self, logits: Logits) -> Delta | None:
        """Choose the next token; what there is to say of it, if anything."""
        token = self._sampler.choose(logits)
        self._last_token = time.perf_counter()
        if not self._first_token:
            self._first_token = self._last_token
        if token in self._end_tokens and not self.job.sampling.ignore_eos:
            return self._finish("stop", self._stops.feed(self._detokenizer.flush())[0] + self._stops.flush())
        self.tokens.append(token)
        text, is_stopped = self._stops.feed(self._detokenizer.add(token))
        if is_stopped:
            return self._finish("stop", text)
        if len(self.tokens) >= self._limit:
            tail, is_stopped = self._stops.feed(self._detokenizer.flush())
            return self._finish("length", text + tail + self._stops.flush())
        return Delta(job_id=self.job.id, text=text) if text else None

    def _finish(self, reason: FinishReason, text: str) -> Delta:
        self.is_finished = True
        usage = Usage(
            prompt_tokens=len(self.job.tokens),
            cached_tokens=self._cached_tokens,
            completion_tokens=self.answer_tokens,
            queue_seconds=self._admitted - self._arrived,
            prefill_seconds=self._first_token - self._admitted,
            decode_seconds=self._last_token - self._first_token,
        )
        return Delta(job_id=self.job.id, text=text, finish=reason, usage=usage)
