"""Answers and measurements as lines and JSON."""

import msgspec

from localllm.types import Finished, Usage


def answer_json(model: str, text: str, end: Finished) -> str:
    """One answer as a JSON object."""
    usage = msgspec.to_builtins(end.usage)
    usage["tokens_per_second"] = round(end.usage.tokens_per_second, 2)
    body = {"model": model, "text": text, "finish_reason": end.reason, "usage": usage}
    return msgspec.json.encode(body).decode()


def stats_line(usage: Usage) -> str:
    """What one answer cost, in a line."""
    return (
        f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached), "
        f"{usage.completion_tokens} answer tokens, first after {usage.first_token_seconds:.2f} s, "
        f"then {usage.tokens_per_second:.1f} tokens/s"
    )
