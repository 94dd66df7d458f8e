"""A plan's model in OpenVINO's pipeline: a GGUF by way of a folder that is soon gone, or a folder of its own."""

import shutil
import tempfile
from pathlib import Path

import openvino as ov
import openvino_genai as genai
from msgspec import Struct

from localllm.devices.cpu import available_memory_bytes
from localllm.engines.base import OnProgress, Tokenizer
from localllm.engines.openvino.folder import MODEL, read_folder
from localllm.engines.openvino.grammar_vocabulary import grammar_tokenizer
from localllm.engines.openvino.graph import build_graph
from localllm.engines.openvino.ir_tokenizer import IrTokenizer
from localllm.engines.openvino.memory import (
    CPU_BLOCK_TOKENS,
    GPU_BLOCK_TOKENS,
    Blocks,
    KvShape,
    fit_blocks,
    piece_tokens,
)
from localllm.engines.openvino.native import line
from localllm.engines.openvino.shape import GgufModel, read_model
from localllm.engines.openvino.tensors import TensorReader
from localllm.engines.openvino.vocabulary import GgufTokenizer
from localllm.engines.plan import LoadPlan
from localllm.errors import LoadFailed, NoRoom
from localllm.units import size_words

_BUILT, _WRITTEN = 0.5, 0.6  # share of the load that is done then
_COPIES = 2.0  # of the weights that are in memory at once while they are loaded


class Loaded(Struct, frozen=True):
    """A model that runs."""

    native: genai.ContinuousBatchingPipeline
    tokenizer: Tokenizer
    grammars: genai.Tokenizer  # whose vocabulary grammars may be compiled for
    vocabulary: int  # logits of a token
    blocks: Blocks


class Target(Struct, frozen=True, kw_only=True):
    """Where it is to run."""

    device: str
    threads: int


def load(plan: LoadPlan, target: Target, on_progress: OnProgress) -> Loaded:
    """Raises LoadFailed for a file or a folder that is not right or that OpenVINO refuses, NoRoom for one too large."""
    path = Path(plan.path)
    try:
        if path.is_dir() or path.name == MODEL:
            return _load_folder(plan, path if path.is_dir() else path.parent, target)
        if len(plan.parts) > 1:
            raise LoadFailed(f"{path} is split into {len(plan.parts)} files; use --engine llama_cpp")
        return _load_gguf(plan, path, target, on_progress)
    except RuntimeError as error:  # ov::Exception
        raise LoadFailed(f"OpenVINO cannot load {path}: {line(error)}") from error
    except (MemoryError, OSError) as error:
        raise LoadFailed(f"{path} cannot be loaded: {line(error)}") from error


def _load_gguf(plan: LoadPlan, path: Path, target: Target, on_progress: OnProgress) -> Loaded:
    model = read_model(path)
    room_bytes = _room_bytes(model.facts.weights_bytes, path)
    blocks = _blocks(plan, model.shape.kv, room_bytes, target)
    tokenizer = GgufTokenizer(str(path))
    if tokenizer.vocab_size > model.shape.vocabulary:
        raise LoadFailed(f"{path} names {tokenizer.vocab_size} tokens and knows {model.shape.vocabulary}")
    with tempfile.TemporaryDirectory(prefix="localllm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        grammars = grammar_tokenizer(tokenizer, folder)
        _write_graph(model, folder, on_progress)
        piece = piece_tokens(model.facts.parameters, threads=target.threads, jobs=blocks.jobs)
        config = _scheduler(plan, blocks, piece)
        native = genai.ContinuousBatchingPipeline(name, grammars, config, target.device, **_properties(target))
    return Loaded(native, tokenizer, grammars, model.shape.vocabulary, blocks)


def _load_folder(plan: LoadPlan, folder: Path, target: Target) -> Loaded:
    about = read_folder(folder)
    blocks = _blocks(plan, about.kv, _room_bytes(about.weights_bytes, folder), target)
    grammars = genai.Tokenizer(str(folder))
    piece = piece_tokens(about.parameters, threads=target.threads, jobs=blocks.jobs)
    native = genai.ContinuousBatchingPipeline(
        str(folder), grammars, _scheduler(plan, blocks, piece), target.device, **_properties(target)
    )
    tokenizer = IrTokenizer(grammars, native.get_config().stop_token_ids)
    return Loaded(native, tokenizer, grammars, about.vocabulary, blocks)


def _room_bytes(weights_bytes: int, path: Path) -> int:
    available = available_memory_bytes()
    if weights_bytes * _COPIES > available:
        raise NoRoom(
            f"{path} needs {size_words(int(weights_bytes * _COPIES))} of memory while it is loaded, "
            f"{size_words(available)} are free; take a smaller model, or use --engine llama_cpp"
        )
    return int(available - weights_bytes * _COPIES)


def _blocks(plan: LoadPlan, kv: KvShape, room_bytes: int, target: Target) -> Blocks:
    return fit_blocks(
        kv,
        available_bytes=room_bytes,
        context=plan.context_tokens,
        jobs=plan.max_jobs,
        block_tokens=CPU_BLOCK_TOKENS if target.device == "CPU" else GPU_BLOCK_TOKENS,
    )


def _write_graph(model: GgufModel, folder: Path, on_progress: OnProgress) -> None:
    """OpenVINO's pipeline takes a folder alone."""
    free = shutil.disk_usage(folder).free
    if model.facts.weights_bytes > free:
        raise NoRoom(
            f"{folder.parent} has {size_words(free)} free, and OpenVINO's form of the model takes "
            f"{size_words(model.facts.weights_bytes)} there for a while; make room, or use --engine llama_cpp"
        )
    tensors = TensorReader(model)
    try:
        graph = build_graph(model.shape, tensors, lambda share: on_progress(share * _BUILT))
    finally:
        tensors.close()
    ov.serialize(graph, str(folder / MODEL))
    on_progress(_WRITTEN)


def _scheduler(plan: LoadPlan, blocks: Blocks, piece: int) -> genai.SchedulerConfig:
    config = genai.SchedulerConfig()
    config.num_kv_blocks = blocks.count
    config.max_num_seqs = blocks.jobs
    config.max_num_batched_tokens = piece
    config.dynamic_split_fuse = True  # a piece of a prompt and everybody's next token in one step
    config.enable_prefix_caching = plan.scheduling.shares_prompts  # it cannot tell one client's blocks from another's
    return config


def _properties(target: Target) -> dict[str, object]:
    """The weights are not mapped: their file is gone soon after."""
    if target.device != "CPU":
        return {"ENABLE_MMAP": False}
    return {"ENABLE_MMAP": False, "INFERENCE_NUM_THREADS": target.threads}
