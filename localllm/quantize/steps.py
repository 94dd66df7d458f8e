"""What can be done in a child process, one step at a time, and what comes of it.

A step is data: it crosses the boundary as msgpack. `process/child.py` runs it; `process/workshop.py` is the
parent's side. Paths are absolute. Every step may raise a LocalLLMError, which the parent raises again.
"""

from msgspec import Struct

from localllm.worker.messages import ErrorReport


class Progress(Struct, frozen=True, tag=True, tag_field="step"):
    """So much of a step is done."""

    done: int
    total: int
    what: str = ""  # the tensor, the chunk of text
    stage: str = ""  # of a step that has several, in words


class Fault(Struct, frozen=True, tag=True, tag_field="step"):
    """The step cannot be done."""

    error: ErrorReport


class TypeOverride(Struct, frozen=True, forbid_unknown_fields=True):
    """Tensors whose names match `pattern` (ECMAScript regex, searched) get another type, such as Q8_0."""

    pattern: str
    type: str


class Convert(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """Checkpoint to GGUF."""

    files: dict[str, str]  # paths by the names that the checkpoint knows them by
    target: str
    type: str = "auto"  # F32, F16, BF16; auto: as the checkpoint is
    name: str = ""  # general.name
    metadata: dict[str, str] = {}  # more of general.*: license, base_model.0.name …


class Converted(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """A GGUF file was written."""

    architecture: str
    type: str  # F32, F16, BF16
    tensors: int
    size_bytes: int
    peak_memory_bytes: int = 0


class Quantize(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """GGUF to a smaller GGUF (llama_model_quantize)."""

    source: str
    target: str  # empty with `is_dry`
    type: str  # a name of `models/gguf/quant.py` FILE_TYPES, such as Q4_K_M
    threads: int
    importance: str = ""  # path of a GGUF imatrix; empty: none
    overrides: tuple[TypeOverride, ...] = ()
    output_type: str = ""  # of output.weight; empty: as the type says
    embedding_type: str = ""  # of token_embd.weight, likewise
    is_pure: bool = False  # every tensor in the one type
    prune_layers: tuple[int, ...] = ()
    allow_requantize: bool = False
    metadata: dict[str, str | int] = {}  # more for the file, whole keys
    is_dry: bool = False  # only say what it would be


class TensorPlan(Struct, frozen=True, kw_only=True):
    """What became of one tensor."""

    name: str
    source_type: str
    type: str
    fallback_from: str = ""  # the type it would have, were its rows a multiple of that type's block


class Quantized(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """A GGUF file was written, or would be."""

    size_bytes: int  # of the whole file
    weights_bytes: int
    parameters: int
    tensors: tuple[TensorPlan, ...]
    warnings: tuple[str, ...] = ()

    @property
    def bits_per_weight(self) -> float:
        """What a weight takes really."""
        return self.weights_bytes * 8 / self.parameters if self.parameters else 0.0

    @property
    def fallbacks(self) -> int:
        """Tensors whose rows do not fit the type."""
        return sum(1 for tensor in self.tensors if tensor.fallback_from)


class ExportProgram(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """GGUF to a program of ExecuTorch (.pte)."""

    sources: tuple[str, ...]  # the files of one model, in order
    target: str
    scheme: str  # how weights are stored, such as 8da4w
    delegate: str  # the back end that runs it, such as xnnpack
    context_tokens: int
    tokenizer_folder: str = ""  # where tokenizer.json and what belongs to it are written; empty: they are there already


class Exported(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """A program was written. The tensors' types are int4, int8 and fp32."""

    program: Quantized
    delegated: int  # operations that the back end runs
    undelegated: int
    seconds: dict[str, float]  # by stage
    peak_memory_bytes: int


class MakeMlc(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """Checkpoint to a model of MLC LLM, and the library that runs it into MLC's cache."""

    files: dict[str, str]  # of the checkpoint: paths by the names that it knows them by
    target: str  # the folder, which is made
    quantization: str  # such as q4f16_1
    context_tokens: int | None = None  # None: what the model was trained for
    device: str  # that it is compiled for, such as cuda:0


class MlcMade(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """The folder was written, and the library compiled."""

    model: Quantized
    device: str
    build: str  # of MLC LLM


class Calibrate(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """GGUF and text to an importance matrix."""

    model: str
    text: str  # path, UTF-8
    target: str  # path of the GGUF imatrix
    dataset: str  # what it is called in that file
    chunks: int  # of the text, at most
    chunk_tokens: int = 512
    threads: int


class Calibrated(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """An importance matrix was written."""

    tensors: int
    chunks: int
    tokens: int
    size_bytes: int


class ScoreBase(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """Log-probabilities of a text by the model that others are compared with, into a file."""

    model: str
    text: str  # path, UTF-8
    target: str
    chunks: int  # at most
    chunk_tokens: int = 512
    threads: int


class Perplexity(Struct, frozen=True, kw_only=True):
    """exp of the mean negative log-likelihood, with its standard error."""

    value: float
    error: float


class BaseScored(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """The base's own quality."""

    perplexity: Perplexity
    chunks: int
    positions: int  # tokens that were predicted


class Compare(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """A model against the file that ScoreBase wrote."""

    model: str
    base: str
    threads: int


class Compared(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """How far a model is from the base, in nats over the whole vocabulary."""

    perplexity: Perplexity
    divergence_mean: float  # KL(base || model)
    divergence_error: float  # standard error of the mean
    divergence_p99: float
    divergence_max: float
    same_top: float  # share of positions where both find the same token likeliest, 0 to 1
    positions: int


class MeasureSpeed(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """How fast a model reads and answers, one stream."""

    model: str
    prompt_tokens: int = 512
    answer_tokens: int = 64
    repeats: int = 3
    threads: int | None = None


class Speed(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """Medians."""

    prefill_rate: float  # tokens a second
    decode_rate: float
    load_seconds: float
    peak_memory_bytes: int


class AskBuild(Struct, frozen=True, tag=True, tag_field="step"):
    """What the native library is, which this process never loads."""


class Build(Struct, frozen=True, tag=True, tag_field="step", kw_only=True):
    """What it was built from and for."""

    commit: str
    system_info: str


Step = AskBuild | Convert | Quantize | ExportProgram | MakeMlc | Calibrate | ScoreBase | Compare | MeasureSpeed
Result = Build | Converted | Quantized | Exported | MlcMade | Calibrated | BaseScored | Compared | Speed
