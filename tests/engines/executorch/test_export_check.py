"""What is refused before an export begins, and the memory that is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace

from localllm.engines.executorch.exporter.check import check_order
from localllm.engines.executorch.exporter.delegates.registry import DELEGATE_NAMES, delegate_of
from localllm.engines.executorch.exporter.memory import check_memory, needed_bytes
from localllm.engines.executorch.exporter.order import ExportOrder
from localllm.engines.executorch.exporter.schemes import SCHEMES
from localllm.engines.executorch.exporter.shape import shape_of
from localllm.engines.executorch.exporter.tensors import program_tensors
from localllm.errors import EngineUnavailable, InvalidRequest, LoadFailed, LocalLLMError, NoRoom
from localllm.models.gguf.header import GgufHeader, read_header
from localllm.models.gguf.metadata import ArrayInfo, Value
from localllm.models.gguf.tensors import TensorInfo
from tests.tiny import CONTEXT, FEED_FORWARD, LAYERS, WIDTH, write_tiny_adapter, write_tiny_embedder, write_tiny_model

TO_GGUF = "; quantize it to a GGUF file instead"


def order(**changes: object) -> ExportOrder:
    usual = ExportOrder(sources=(Path("tiny.gguf"),), target=Path("tiny.pte"), scheme="8da4w", context_tokens=512)
    return replace(usual, **changes)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    return read_header(write_tiny_model(tmp_path_factory.mktemp("check") / "tiny.gguf"))


def changed(header: GgufHeader, changes: Mapping[str, Value]) -> GgufHeader:
    return replace(header, metadata=header.metadata | dict(changes))


def with_tensors(header: GgufHeader, *more: TensorInfo, without: str = "") -> GgufHeader:
    kept = tuple(tensor for tensor in header.tensors if tensor.name != without)
    return replace(header, tensors=kept + more)


def tensor(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name=name, shape=shape, type_name="F32", offset=0, size_bytes=0)


def refusal(header: GgufHeader, kind: type[LocalLLMError], **changes: object) -> LocalLLMError:
    with pytest.raises(kind) as caught:
        check_order([header], order(**changes))
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("scheme", delegate_of("xnnpack").schemes)
def test_the_tiny_model_can_be_exported(header: GgufHeader, scheme: str) -> None:
    check_order([header], order(scheme=scheme))
    check_order([header], order(scheme=scheme, context_tokens=CONTEXT))


def test_an_unknown_architecture_is_refused_by_name(header: GgufHeader) -> None:
    other = {f"gemma3{key.removeprefix('llama')}": value for key, value in header.metadata.items()}
    found = refusal(changed(header, other | {"general.architecture": "gemma3"}), LoadFailed)
    assert found.message == (
        "this model cannot be exported for ExecuTorch: it has the architecture gemma3, which is none of llama, qwen2, "
        f"qwen3, smollm3, granite{TO_GGUF}"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"llama.expert_count": 8}, "is a mixture of 8 experts"),
        ({"llama.rope.scaling.type": "yarn"}, "has a rope of the type 'yarn'; ExecuTorch's models rotate whole heads"),
        ({"llama.rope.dimension_count": 8}, "rotates 8 of a head's 16 numbers"),
        ({"llama.pooling_type": 1}, "makes embeddings"),
        ({"llama.attention.value_length": 32}, "has keys and values of different widths"),
        (
            {"llama.attention.head_count_kv": ArrayInfo(element_type="int32", count=2, items=(2, 4))},
            "has layers with different KV heads",
        ),
        (
            {"llama.feed_forward_length": ArrayInfo(element_type="int32", count=2, items=(128, 64))},
            "has layers with different feed forward widths",
        ),
        ({"llama.block_count": 0}, "does not say its layers"),
        ({"llama.block_count": LAYERS + 1}, f"has no tensor 'blk.{LAYERS}.attn_norm.weight'"),
    ],
)
def test_a_model_that_is_computed_otherwise_is_refused(
    header: GgufHeader, changes: dict[str, Value], words: str
) -> None:
    message = refusal(changed(header, changes), LoadFailed).message
    assert words in message
    assert message.endswith(TO_GGUF)


def test_tensors_are_those_of_the_architecture(header: GgufHeader) -> None:
    more = with_tensors(header, tensor("blk.0.ffn_up.bias", FEED_FORWARD))
    assert "has a tensor 'blk.0.ffn_up.bias', which ExecuTorch's llama does not" in refusal(more, LoadFailed).message
    less = with_tensors(header, without="blk.1.attn_v.weight")
    assert "has no tensor 'blk.1.attn_v.weight'" in refusal(less, LoadFailed).message
    name = "blk.1.ffn_down.weight"
    other = with_tensors(header, tensor(name, WIDTH, FEED_FORWARD), without=name)
    assert "of (128, 64) where (64, 128) is its shape" in refusal(other, LoadFailed).message


@pytest.mark.parametrize("kind", ["mean", "cls"])
def test_an_embedder_is_refused(kind: Literal["mean", "cls"], tmp_path: Path) -> None:
    refusal(read_header(write_tiny_embedder(tmp_path / "embedder.gguf", pooling=kind)), LoadFailed)


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    found = refusal(read_header(write_tiny_adapter(tmp_path / "adapter.gguf")), LoadFailed)
    assert "LoRA adapter" in found.message


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"context_tokens": 0}, "context", "a context of 0 tokens is too short; 16 are the least"),
        ({"context_tokens": -5}, "context", "a context of -5 tokens is too short"),
        ({"context_tokens": CONTEXT + 1}, "context", f"more than the {CONTEXT} that this model was trained for"),
        ({"scheme": "Q4_K_M"}, "type", "there is no type 'Q4_K_M' for ExecuTorch; there are 8da4w, 8da8w, fp32"),
        ({"delegate": "tpu"}, "delegate", "there is no delegate 'tpu' for ExecuTorch; there are xnnpack, openvino"),
    ],
)
def test_what_cannot_be_done_as_asked_is_refused(
    header: GgufHeader, changes: dict[str, object], param: str, words: str
) -> None:
    found = refusal(header, InvalidRequest, **changes)
    assert words in found.message
    assert found.param == param


def test_a_window_bounds_the_context(header: GgufHeader) -> None:
    windowed = changed(header, {"llama.attention.sliding_window": 256})
    check_order([windowed], order(context_tokens=256))
    assert "take a context of 256 tokens at most" in refusal(windowed, InvalidRequest, context_tokens=257).message


def test_groups_must_divide_the_rows(header: GgufHeader) -> None:
    names = {f"blk.{layer}.ffn_{part}.weight" for layer in range(LAYERS) for part in ("gate", "up", "down")}
    narrow = [
        tensor(each.name, *(100 if side == FEED_FORWARD else side for side in each.shape))
        if each.name in names
        else each
        for each in header.tensors
    ]
    odd = changed(replace(header, tensors=tuple(narrow)), {"llama.feed_forward_length": 100})
    found = refusal(odd, InvalidRequest)
    assert found.message == (
        "the rows of blk.0.ffn_down.weight have 100 weights, which groups of 32 do not divide; take one of 8da8w, fp32"
    )
    check_order([odd], order(scheme="8da8w"))


def test_every_delegate_says_what_it_is() -> None:
    for name in DELEGATE_NAMES:
        delegate = delegate_of(name.upper())
        assert delegate.name == name
        assert delegate.words
        assert delegate.schemes
        assert set(delegate.schemes) <= SCHEMES.keys()


def test_a_delegate_takes_its_own_schemes(header: GgufHeader, monkeypatch: pytest.MonkeyPatch) -> None:
    from localllm.engines.executorch.exporter.delegates.xnnpack import Xnnpack

    monkeypatch.setattr(Xnnpack, "schemes", ("fp32",))
    assert refusal(header, InvalidRequest).message == "xnnpack takes no type 8da4w; it takes fp32"
    monkeypatch.setattr(Xnnpack, "missing", lambda self: "it is not here; install it")
    assert refusal(header, EngineUnavailable, scheme="fp32").message == "it is not here; install it"


def test_memory_grows_with_the_model_and_its_context(header: GgufHeader) -> None:
    tiny = needed_bytes([header], SCHEMES["8da4w"], 512)
    assert 500e6 < tiny < 700e6
    assert needed_bytes([header], SCHEMES["8da4w"], 8192) > tiny + 8192**2
    assert needed_bytes([header], SCHEMES["fp32"], 512) >= tiny
    check_memory([header], SCHEMES["8da4w"], 512, tiny)
    with pytest.raises(NoRoom, match=r"about .* MB of memory, and .* MB are available; close other programs"):
        check_memory([header], SCHEMES["8da4w"], 512, tiny - 1)


def test_tensors_tell_what_became_of_them(header: GgufHeader) -> None:
    tied = with_tensors(header, without="output.weight")
    found = {tensor.name: tensor for tensor in program_tensors([tied], shape_of([tied]), SCHEMES["8da4w"])}
    assert len(found) == 9 * LAYERS + 3
    down = found["blk.0.ffn_down.weight"]
    assert (down.type, down.source_type, down.elements) == ("int4", "F32", WIDTH * FEED_FORWARD)
    assert down.size_bytes == WIDTH * FEED_FORWARD // 2 + WIDTH * FEED_FORWARD // 32 * 2
    assert found["output_norm.weight"].type == "fp32"
    embedding, output = found["token_embd.weight"], found["output.weight"]
    assert (embedding.type, embedding.elements, embedding.size_bytes) == ("int8", 259 * WIDTH, 259 * (WIDTH + 4))
    assert (output.type, output.elements, output.size_bytes) == ("int8", 0, 259 * (WIDTH + 4))
