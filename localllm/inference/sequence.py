"""A job in the batcher: its tokens, how many of them are in KV, and how its text leaves."""

import time
from array import array

from localllm.engines.base import Logits, Tokenizer
from localllm.engines.job import Delta, Job
from localllm.inference.answer_text import AnswerText
from localllm.inference.sampling import Sampler
from localllm.types import AdapterUse, FinishReason, Usage

Scope = tuple[str, tuple[AdapterUse, ...]]  # KV is shared only between jobs of the same one

READ_TOKENS = 32  # more tokens than this to decode at once count as reading, whoever wrote them
FRESH_TOKENS = 2  # of the end of a prompt are always read: kernels round a lone row otherwise than one among others


class Sequence:
    """Prompt and answer of one job. `tokens[:position]` are in KV; the rest waits to be decoded, and behind it
    `draft`, a guess at what comes next."""

    def __init__(self, job: Job, tokenizer: Tokenizer, context_tokens: int) -> None:
        self.job = job
        self.tokens = array("i", job.tokens)
        self.draft: list[int] = []
        self.accepted = 0  # of the last draft
        self.position = 0
        self.slot = -1
        self.is_finished = False
        self.is_batch = job.is_batch
        self.scope: Scope = (job.client.scope, job.adapters)
        self._cached_tokens = self._drafted_tokens = self._accepted_tokens = 0
        self._end_tokens = tokenizer.end_tokens
        self._limit = context_tokens  # of prompt and answer together
        if job.sampling.max_tokens is not None:
            self._limit = min(self._limit, len(job.tokens) + job.sampling.max_tokens)
        self._sampler = Sampler(job.sampling, tokenizer, job.tokens, job.constraint)
        self._text = AnswerText(tokenizer, job.sampling.stop)
        self._reason: FinishReason | None = None
        self._arrived = time.perf_counter()
        self._admitted = self._first_token = self._last_token = 0.0

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.job.tokens)

    @property
    def pending_tokens(self) -> int:
        """Tokens not yet in KV: the rest of the prompt, or the last token of the answer and what a grammar forced."""
        return len(self.tokens) - self.position

    @property
    def reusable_tokens(self) -> int:
        """So many of its first tokens may come from a cache."""
        return max(0, len(self.tokens) - FRESH_TOKENS)

    @property
    def is_decoding(self) -> bool:
        """Whether the answer has begun and little stands between it and its next token."""
        return self.answer_tokens > 0 and self.pending_tokens <= READ_TOKENS

    @property
    def room_tokens(self) -> int:
        """How many more tokens the answer may have."""
        return self._limit - len(self.tokens)

    def admit(self, slot: int, cached_tokens: int) -> None:
        """Take a slot that already holds the first tokens."""
        self.slot = slot
        self.position = cached_tokens
        if not self._admitted:  # not after giving way to another job
            self._cached_tokens = cached_tokens
            self._admitted = time.perf_counter()

    def accept(self, rows: Logits) -> Delta | None:
        """Choose the next tokens; what there is to say of them, if anything.

        `rows`: float32 [1 + len(draft), vocab_size]; row i follows `draft[:i]`, and counts as long as the tokens
        chosen from the rows before are the drafted ones. So every token is chosen as it would be without a draft
        (Leviathan et al. 2023, for a draft without probabilities of its own).
        """
        self.accepted = 0
        for at, row in enumerate(rows):
            token = self._sampler.choose(row)
            is_said = self._say(token, row)
            is_drafted = is_said and at < len(self.draft) and token == self.draft[at]
            self.accepted += is_drafted
            if self._reason is not None or not is_drafted:
                break
        self.position += self.accepted
        self._drafted_tokens += len(self.draft)
        self._accepted_tokens += self.accepted
        self.draft = []
        if self._reason is None:
            self._take_forced()
        return self._delta()

    def _say(self, token: int, row: Logits) -> bool:
        """Add a chosen token to the answer; whether it is part of it, and not its end."""
        self._last_token = time.perf_counter()
        if not self._first_token:
            self._first_token = self._last_token
        if token in self._end_tokens and (not self.job.sampling.ignore_eos or self._is_complete):
            self._finish("stop")
            return False
        if self.job.sampling.logprobs is not None:
            self._text.note(self._sampler.logprob(row, token))
        self._append(token)
        return True

    def _append(self, token: int) -> None:
        self.tokens.append(token)
        if self._text.add_token(token):
            self._reason = "stop"
        elif self._is_complete:
            self._finish("stop")
        elif len(self.tokens) >= self._limit:
            self._finish("length")

    def _take_forced(self) -> None:
        """Tokens that the grammar leaves no choice about go in without being asked for.

        Not where log probabilities are wanted, which need every token's own logits.
        """
        if self.job.constraint is None or self.job.sampling.logprobs is not None:
            return
        for token in self.job.constraint.forced():
            self._sampler.take(token)
            self._append(token)
            if self._reason is not None:
                return

    @property
    def _is_complete(self) -> bool:
        return self.job.constraint is not None and self.job.constraint.is_complete

    def _finish(self, reason: FinishReason) -> None:
        """End the answer, and let go of what was held back."""
        self._reason = "stop" if self._text.finish() else reason

    def _delta(self) -> Delta | None:
        text, logprobs = self._text.take(is_last=self._reason is not None)
        if self._reason is None:
            return Delta(job_id=self.job.id, text=text, logprobs=logprobs) if text or logprobs else None
        self.is_finished = True
        usage = Usage(
            prompt_tokens=len(self.job.tokens),
            cached_tokens=self._cached_tokens,
            completion_tokens=self.answer_tokens,
            queue_seconds=self._admitted - self._arrived,
            prefill_seconds=self._first_token - self._admitted,
            decode_seconds=self._last_token - self._first_token,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
        )
        return Delta(job_id=self.job.id, text=text, finish=self._reason, usage=usage, logprobs=logprobs)
