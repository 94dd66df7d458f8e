"""The shared nouns: messages, sampling, requests, and the events that answer them."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]
Guessing = Literal["exact", "always", "off"]  # exact: for answers that must repeat, only where it changes no logit
Preference = Literal["speed", "battery", "quiet"]  # what a machine on battery, or a hot one, is spared for
Workload = Literal["chat", "reading", "serving"]  # one answer at a time; long prompts; many answers at once
ConstraintKind = Literal["json_object", "json_schema", "regex", "lark"]
Priority = Literal["interactive", "batch"]  # a batch job waits for, and gives way to, whoever sits and waits


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
    typical_p: float = 1.0  # 1 is off
    top_n_sigma: float = 0.0  # 0 is off
    xtc_probability: float = 0.0  # 0 is off
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0  # temperature ± this, by the entropy; 0 is off
    dynatemp_exponent: float = 1.0
    mirostat: Literal[0, 2] = 0  # 2: version 2, in place of every truncation
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64  # tokens that repeat_penalty looks back; -1: all
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0  # 0 is off
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1  # tokens that DRY looks back; -1: all
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None  # None: none; 0 to 20: the token's own and those of so many likeliest
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


NEUTRAL = Sampling(temperature=1.0)  # what an engine does that chooses by the model's own distribution


def honoured(sampling: Sampling, fields: frozenset[str]) -> Sampling:
    """The same without what an engine that honours these `fields` alone would not do."""
    others = {name: getattr(NEUTRAL, name) for name in Sampling.__struct_fields__ if name not in fields}
    return replace(sampling, **others)


class SamplingChoice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request asks for. A field left out takes the model's own default."""

    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    top_n_sigma: float | UnsetType = UNSET
    xtc_probability: float | UnsetType = UNSET
    xtc_threshold: float | UnsetType = UNSET
    dynatemp_range: float | UnsetType = UNSET
    dynatemp_exponent: float | UnsetType = UNSET
    mirostat: Literal[0, 2] | UnsetType = UNSET
    mirostat_tau: float | UnsetType = UNSET
    mirostat_eta: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    dry_multiplier: float | UnsetType = UNSET
    dry_base: float | UnsetType = UNSET
    dry_allowed_length: int | UnsetType = UNSET
    dry_penalty_last_n: int | UnsetType = UNSET
    dry_sequence_breakers: tuple[str, ...] | UnsetType = UNSET
    logit_bias: dict[int, float] | UnsetType = UNSET
    logprobs: int | UnsetType = UNSET
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


class Constraint(Struct, frozen=True):
    """What the answer must match, from its first character to its last.

    `source` is a JSON Schema as JSON text, a regular expression or a Lark grammar; json_object needs none.
    """

    kind: ConstraintKind
    source: str = ""


class AdapterUse(Struct, frozen=True):
    """A LoRA adapter of the loaded model, and how strongly it acts."""

    name: str
    scale: float = 1.0


class Client(Struct, frozen=True):
    """For whom a request is done. Cached prompts are never shared between scopes."""

    scope: str = ""
    priority: Priority = "interactive"


class Prompted(Struct, frozen=True, kw_only=True):
    """What chats and texts have in common. `choices` answers are drawn from one prompt, read once."""

    model: str | None = None  # None: the service's default model
    sampling: SamplingChoice = SamplingChoice()
    choices: int = 1
    constraint: Constraint | None = None
    adapters: tuple[AdapterUse, ...] = ()
    client: Client = Client()


class ChatRequest(Prompted, frozen=True, kw_only=True, tag=True):
    """Answer the last of these messages."""

    messages: tuple[Message, ...]


class TextRequest(Prompted, frozen=True, kw_only=True, tag=True):
    """Continue this text, or these token ids."""

    prompt: str | tuple[int, ...]


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """A vector for each of these texts or token id lists."""

    inputs: tuple[str | tuple[int, ...], ...]
    model: str | None = None
    client: Client = Client()


class Embeddings(Struct, frozen=True, kw_only=True):
    """One vector of length 1 for each input: float32, little-endian."""

    vectors: tuple[bytes, ...]
    prompt_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """What one answer cost, measured in the worker, so that every front end prints the same."""

    prompt_tokens: int
    cached_tokens: int  # of the prompt, found in KV and not computed again
    completion_tokens: int
    queue_seconds: float  # waiting for a slot
    prefill_seconds: float  # from the slot to the first token
    decode_seconds: float  # from the first token to the last
    drafted_tokens: int = 0  # guessed ahead by speculation
    accepted_tokens: int = 0  # of those, the ones that the model itself chose

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


class Queued(Struct, frozen=True):
    """The request waits for a free slot; `position` 1 is the next to get one."""

    position: int

    @property
    def words(self) -> str:
        """The same for a person."""
        return f"waiting, {self.position - 1} before you" if self.position > 1 else "waiting, you are next"


class TopLogprob(Struct, frozen=True, array_like=True):
    """A token that could have come, and the natural logarithm of its probability."""

    piece: bytes
    logprob: float


class TokenLogprob(Struct, frozen=True, array_like=True):
    """A token of the answer, and the likeliest tokens in its place, likeliest first."""

    piece: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()


class TextDelta(Struct, frozen=True):
    """More text; never part of a character. `logprobs` are of the tokens that it is made of."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class Finished(Struct, frozen=True):
    """The last event of a choice that ended well. The last of several choices' is the last of the answer."""

    reason: FinishReason
    usage: Usage
    choice: int = 0


Event = Queued | PromptProgress | TextDelta | Finished


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
    adapters: tuple[str, ...] = ()  # names of the LoRA adapters that a request may use
    embedding_width: int | None = None  # of its vectors; None: it does not embed
    constraints: frozenset[str] = frozenset()  # kinds of `Constraint` that it holds an answer to


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
    reasons: tuple[str, ...] = ()  # why it runs where and how it does, a sentence each
    fallbacks: tuple[str, ...] = ()  # what was given up to load it, a sentence each
