"""The shared nouns: messages, sampling, requests, and the events that answer them."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a chat, as the template sees it."""

    role: Role
    content: str
    name: str | None = None


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the next token is chosen and when to stop. Every value is concrete.

    The order in which fields act is declared in `inference/sampling.py`.
    """

    max_tokens: int | None = None  # None: until the model stops or the context is full
    temperature: float = 0.8  # 0 is greedy
    top_k: int = 0  # 0 is off
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


class SamplingChoice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request asks for. A field left out takes the model's own default."""

    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    logit_bias: dict[int, float] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: tuple[str, ...] | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET

    def chosen(self) -> dict[str, object]:
        """The fields that were given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not UNSET}


class ModelDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model's answers default to; a request may choose otherwise."""

    system: str | None = None  # system prompt of chats that bring none; None leaves that to the chat template
    sampling: Sampling = Sampling()


class ChatRequest(Struct, frozen=True, kw_only=True, tag=True):
    """Answer the last of these messages."""

    messages: tuple[Message, ...]
    model: str | None = None  # None: the service's default model
    sampling: SamplingChoice = SamplingChoice()


class TextRequest(Struct, frozen=True, kw_only=True, tag=True):
    """Continue this text, or these token ids."""

    prompt: str | tuple[int, ...]
    model: str | None = None
    sampling: SamplingChoice = SamplingChoice()


class Usage(Struct, frozen=True, kw_only=True):
    """What one answer cost, measured in the worker, so that every front end prints the same."""

    prompt_tokens: int
    cached_tokens: int  # of the prompt, found in KV and not computed again
    completion_tokens: int
    queue_seconds: float  # waiting for a slot
    prefill_seconds: float  # from the slot to the first token
    decode_seconds: float  # from the first token to the last

    @property
    def first_token_seconds(self) -> float:
        """Time to first token as the worker saw it, queueing included."""
        return self.queue_seconds + self.prefill_seconds

    @property
    def tokens_per_second(self) -> float:
        """Decode speed; 0 for an answer of fewer than two tokens."""
        steps = self.completion_tokens - 1
        return steps / self.decode_seconds if steps > 0 and self.decode_seconds > 0 else 0.0


class PromptProgress(Struct, frozen=True):
    """So much of the prompt has been read. The first event of every answer: the request is valid and taken."""

    done_tokens: int
    total_tokens: int


class TextDelta(Struct, frozen=True):
    """More text; never part of a character."""

    text: str


class Finished(Struct, frozen=True):
    """The last event of an answer that ended well."""

    reason: FinishReason
    usage: Usage


Event = PromptProgress | TextDelta | Finished


class LoadProgress(Struct, frozen=True):
    """So far (0 to 1) a model is loaded."""

    fraction: float


ModelState = Literal["unloaded", "loading", "ready"]


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What a loaded engine is and can do."""

    engine: str  # "llama_cpp", "echo"
    build: str  # version of the native library
    device: str
    context_tokens: int  # for each job, not shared between them
    max_jobs: int  # that run at the same time; more wait
    threads: int
    vocab_size: int
    sampling: frozenset[str]  # names of the `Sampling` fields it honours
    has_chat_template: bool
    load_seconds: float


class Measurements(Struct, frozen=True, tag=True):
    """What a loaded model's process has used since it started."""

    peak_memory_bytes: int  # resident
    steps: int
    decode_seconds: float  # of all steps, in the native library
    python_seconds: float  # of all steps, around it

    @property
    def python_share(self) -> float:
        """Python's part of a step, 0 to 1."""
        total = self.decode_seconds + self.python_seconds
        return self.python_seconds / total if total else 0.0


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A model the service answers with."""

    id: str
    state: ModelState
    created: int  # Unix time of its arrival on this disk
    engine: EngineInfo | None = None  # once loaded
