"""Choosing the next token.

One order, for every engine:
repeat_penalty → logit_bias, frequency_penalty, presence_penalty, ignore_eos → dry → the job's constraint
→ temperature 0: the largest logit
→ top_n_sigma → top_k → typical_p → top_p → min_p → xtc → temperature (dynatemp) → a draw seeded by `seed`.
With mirostat 2: … → temperature (dynatemp) → mirostat, in place of every truncation → the draw.
It is the default order of llama.cpp. Truncation looks at the distribution before temperature, so that a high
temperature cannot bring back what truncation removed; each truncation looks at the softmax of what is left.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from localllm.engines.base import Logits, Tokenizer
from localllm.engines.job import TokenConstraint
from localllm.errors import EngineError, InvalidRequest, LocalLLMError
from localllm.inference.draw import draw_index
from localllm.inference.logprobs import token_logprob
from localllm.inference.mirostat import Mirostat
from localllm.inference.penalties import LogitAdjuster
from localllm.inference.temperature import entropy_temperature
from localllm.inference.truncation import (
    XTC_MOST,
    TokenIds,
    min_p,
    nucleus,
    top_k,
    top_n_sigma,
    typical,
    without_top_choices,
)
from localllm.types import Sampling, TokenLogprob

COLDEST = 1e-3  # a lower temperature draws as this one does: the likeliest token, or one of those equally likely

Cut = Callable[[Logits, float], TokenIds]  # of logits [n] and the largest of them, the indexes to keep


class Sampler:
    """Chooses the tokens of one job, one after the other.

    `choose` once for each position, in order, or `take` where the token is known; what was chosen is then part of
    the text for penalties and constraint.
    """

    def __init__(
        self,
        sampling: Sampling,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        constraint: TokenConstraint | None = None,
    ) -> None:
        self._sampling = sampling
        self._is_greedy = sampling.temperature == 0
        self._tokenizer = tokenizer
        self._constraint = constraint
        self._adjuster = LogitAdjuster(sampling, tokenizer, prompt)
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._mirostat = Mirostat(sampling.mirostat_tau, sampling.mirostat_eta) if sampling.mirostat else None
        self._cuts = [] if self._mirostat is not None else _cuts(sampling)
        self._may_drop_likeliest = sampling.typical_p < 1  # no other truncation does
        # A higher threshold could remove nothing; then nothing is drawn for it either.
        self._may_exclude = (
            self._mirostat is None and sampling.xtc_probability > 0 and sampling.xtc_threshold <= XTC_MOST
        )

    def choose(self, logits: Logits) -> int:
        """The next token for float32 logits [vocab_size], which are left as they are.

        Raises EngineError when they hold no number to choose by, InvalidRequest when nothing is left that the
        constraint lets through, or what the constraint raises.
        """
        best = int(logits.argmax())  # a NaN wins, so this one look sees any
        is_settled = self._adjuster.leaves(best) if self._is_greedy else self._adjuster.is_idle
        if self._constraint is not None or not is_settled:
            logits = self._adjusted(logits)
            best = int(logits.argmax())
        peak = float(logits[best])
        if not np.isfinite(peak):
            raise self._no_choice(peak)
        token = best if self._is_greedy else self._draw(logits, peak)
        self.take(token)
        return token

    def take(self, token: int) -> None:
        """Make a token part of the text that was not drawn: one that the constraint forces.

        Raises EngineError when the constraint does not allow it.
        """
        self._adjuster.accept(token)
        if self._constraint is not None:
            self._constraint.accept(token)

    def logprob(self, logits: Logits, token: int) -> TokenLogprob:
        """The token's log probability and those of `sampling.logprobs` rivals, by the model's own `logits`
        [vocab_size]: before penalties, constraint, truncation and temperature. Changes nothing."""
        return token_logprob(logits, token, self._sampling.logprobs or 0, self._tokenizer)

    def _adjusted(self, logits: Logits) -> Logits:
        if not self._adjuster.is_idle:
            logits = self._adjuster.apply(logits)
        if self._constraint is not None:
            logits = logits.copy() if self._adjuster.is_idle else logits
            self._constraint.mask(logits)
        return logits

    def _draw(self, logits: Logits, peak: float) -> int:
        ids: TokenIds | None = None  # None: all of them
        for cut in self._cuts:
            kept = cut(logits, peak)
            ids, logits = kept if ids is None else ids[kept], logits[kept]
            if self._may_drop_likeliest:
                peak = float(logits.max())
        if self._may_exclude and self._random.random() < self._sampling.xtc_probability:
            kept = without_top_choices(logits, peak, self._sampling.xtc_threshold)
            ids, logits = kept if ids is None else ids[kept], logits[kept]
            peak = float(logits.max())
        scaled = logits - np.float32(peak)
        scaled /= np.float32(max(self._temperature(logits, peak), COLDEST))
        at = draw_index(scaled, self._random) if self._mirostat is None else self._draw_steered(scaled, self._mirostat)
        return at if ids is None else int(ids[at])

    def _draw_steered(self, logits: Logits, mirostat: Mirostat) -> int:
        kept = mirostat.keep(logits)
        logits = logits[kept]
        at = draw_index(logits, self._random)
        mirostat.observe(logits, at)
        return int(kept[at])

    def _temperature(self, logits: Logits, peak: float) -> float:
        sampling = self._sampling
        if sampling.dynatemp_range <= 0:
            return sampling.temperature
        return entropy_temperature(
            logits, peak, sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent
        )

    def _no_choice(self, peak: float) -> LocalLLMError:
        if self._constraint is not None and peak == -np.inf:
            return InvalidRequest(
                "no token may come next: penalties, logit_bias or ignore_eos forbid all that the constraint allows;"
                " drop them or ask for another format",
                param="response_format",
            )
        return EngineError("the model's logits are not numbers; its file may be damaged")


def _cuts(sampling: Sampling) -> list[Cut]:
    """The truncations that are on, in order; xtc, which chance decides, is not among them."""
    cuts: list[Cut] = []
    if sampling.top_n_sigma > 0:
        cuts.append(partial(top_n_sigma, n=sampling.top_n_sigma))
    if sampling.top_k > 0:
        cuts.append(partial(top_k, k=sampling.top_k))
    if sampling.typical_p < 1:
        cuts.append(partial(typical, p=sampling.typical_p))
    if sampling.top_p < 1:
        cuts.append(partial(nucleus, top_p=sampling.top_p))
    if sampling.min_p > 0:
        cuts.append(partial(min_p, share=sampling.min_p))
    return cuts
