"""Whether a job can be done at all, before it is taken."""

from localllm.engines.job import Job
from localllm.errors import ContextOverflow, InvalidRequest


def check_job(job: Job, *, vocab_size: int, context_tokens: int) -> None:
    """Raises InvalidRequest for token ids that there are not, ContextOverflow for a prompt that leaves no room."""
    if not job.tokens:
        raise InvalidRequest("the prompt is empty", param="prompt")
    if min(job.tokens) < 0 or max(job.tokens) >= vocab_size:
        raise InvalidRequest(f"token ids go from 0 to {vocab_size - 1}", param="prompt")
    if any(not 0 <= token < vocab_size for token in job.sampling.logit_bias):
        raise InvalidRequest(f"token ids go from 0 to {vocab_size - 1}", param="logit_bias")
    if len(job.tokens) >= context_tokens:
        raise ContextOverflow(
            f"the prompt has {len(job.tokens)} tokens and the context holds {context_tokens}, "
            "with at least one for the answer; shorten the prompt or start with a larger --context",
            param="messages",
        )
