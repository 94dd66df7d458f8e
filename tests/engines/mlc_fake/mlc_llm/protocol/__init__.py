"""What goes in and out of the fake, with the checks of the real one that matter here."""

from collections.abc import Mapping


class BadRequestError(ValueError):
    """As mlc_llm.protocol.error_protocol has it."""


class ValidationError(ValueError):
    """Stands in for pydantic's."""


class InternalError(RuntimeError):
    """Stands in for TVM's."""


class Usage:
    """CompletionUsage."""

    def __init__(self, prompt_tokens: int, completion_tokens: int, prefill_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.extra: Mapping[str, object] | None = {"prefill_tokens": prefill_tokens, "ttft_s": 0.1}


class Choice:
    """CompletionResponseChoice, whose reasons are a Literal."""

    def __init__(self, text: str, finish_reason: str | None) -> None:
        if finish_reason not in (None, "stop", "length", "preempt"):
            raise ValidationError(f"1 validation error for CompletionResponseChoice: finish_reason {finish_reason!r}")
        self.index, self.text, self.finish_reason, self.logprobs = 0, text, finish_reason, None


class Response:
    """CompletionResponse."""

    def __init__(self, request_id: str, choices: list[Choice], usage: Usage | None = None) -> None:
        self.id, self.choices, self.usage = request_id, choices, usage


class Request:
    """CompletionRequest and GenerationConfig in one: `check` is what the engine does with it later."""

    def __init__(self, request_id: str, prompt: list[int], **fields: object) -> None:
        for name in ("frequency_penalty", "presence_penalty"):
            value = fields.get(name) or 0.0
            if not isinstance(value, float) or not -2 <= value <= 2:
                raise ValidationError(f"1 validation error for CompletionRequest: {name} should be in range [-2, 2]")
        self.id, self.prompt = request_id, prompt
        self.temperature = float(str(fields["temperature"])) if fields.get("temperature") is not None else 1.0
        limit, seed = fields.get("max_tokens"), fields.get("seed")
        self.max_tokens = limit if isinstance(limit, int) else -1
        self.seed = seed if isinstance(seed, int) else None
        options, debug, form = fields.get("stream_options"), fields.get("debug_config"), fields.get("response_format")
        self.include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self.ignore_eos = isinstance(debug, dict) and bool(debug.get("ignore_eos"))
        self.is_json = isinstance(form, dict) and form.get("type") == "json_object"

    def check(self, most_tokens: int) -> None:
        if not self.prompt:
            raise BadRequestError("Invalid request prompt []")
        if len(self.prompt) > most_tokens:
            raise BadRequestError(
                f"Request prompt has {len(self.prompt)} tokens in total, larger than the model input length limit "
                f"{most_tokens}."
            )
        if self.temperature < 0:
            raise InternalError('"temperature" should be non-negative')
        if self.max_tokens == 0:
            raise IndexError("vector::_M_range_check")
