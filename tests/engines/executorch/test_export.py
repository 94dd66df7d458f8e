"""Programs say what their models say, and come out the same each time."""

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

import tests.tiny
from localllm.engines.executorch.exporter.export import export
from localllm.engines.executorch.exporter.faults import engine_faults
from localllm.engines.executorch.exporter.order import ExportOrder
from localllm.engines.executorch.exporter.program import write_program
from localllm.engines.executorch.exporter.quiet import quiet
from localllm.errors import EngineError, EngineUnavailable, InvalidRequest, LoadFailed, LocalLLMError, NoRoom
from tests.convert.families.native_scores import native_scores
from tests.exports import CONTEXT, PROGRAM, export_in_child, exported, skip_without_executorch
from tests.exports import tiny_program as tiny_program  # noqa: PLC0414  a fixture
from tests.tiny import write_tiny_model

TOKENS = [int(token) for token in np.random.default_rng(5).integers(3, 259, 60)]
CUT = 41
LONG = pytest.mark.timeout(900)  # where the machine does much else, and nothing is in the cache
FAILED = "ExecuTorch could not export this model: "
MOST_DIFFERENCE = 0.001  # of logits that spread over 2 to 3, in float32 on both sides


def write_one_layer(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.tiny, "LAYERS", 1)
        write_tiny_model(path)


class Program:
    """A program in ExecuTorch's own runtime."""

    def __init__(self, path: Path) -> None:
        skip_without_executorch()
        with quiet():
            import executorch.kernels.quantized
            from executorch.extension.llm.custom_ops import custom_ops
            from executorch.runtime import Runtime

            assert executorch.kernels.quantized
            assert custom_ops
            self._program = Runtime.get().load_program(path)
            self._forward = self._program.load_method("forward")

    def constant(self, name: str) -> list[int]:
        return list(self._program.load_method(name).execute([]))

    def logits(self, tokens: Sequence[int], position: int) -> NDArray[np.float32]:
        import torch

        found = self._forward.execute((torch.tensor([list(tokens)]), torch.tensor([position])))
        return np.asarray(found[0][0].numpy().copy(), np.float32)


@pytest.mark.slow
@LONG
def test_a_program_says_what_it_is(tiny_program: Path) -> None:
    program = Program(tiny_program / PROGRAM)
    assert program.constant("get_vocab_size") == [259]
    assert program.constant("get_max_context_len") == [CONTEXT]
    assert program.constant("get_max_seq_len") == [257]
    assert program.constant("get_n_layers") == [2]
    assert program.constant("get_bos_id") == [0]
    assert program.constant("get_eos_ids") == [0, 2]
    assert program.constant("use_kv_cache") == [True]
    assert program.logits(range(3, 259), 0).shape == (259,)
    assert np.isfinite(program.logits([5], CONTEXT - 1)).all()


@pytest.mark.slow
@LONG
def test_logits_of_a_program_are_those_of_llama_cpp(tmp_path: Path) -> None:
    """Nothing rounded: the mapping of names, rows and angles is right, in pieces of any length."""
    folder = exported("tiny-fp32", write_tiny_model, scheme="fp32")
    program = Program(folder / PROGRAM)
    expected = native_scores(write_tiny_model(tmp_path / "tiny.gguf"), TOKENS, 128)
    pieces = [(0, CUT), *((place, place + 1) for place in range(CUT, 50)), (50, len(TOKENS))]
    found = np.stack([program.logits(TOKENS[begin:end], begin) for begin, end in pieces])
    wanted = expected[[end - 1 for _, end in pieces]]
    assert wanted.std() > 1
    assert np.abs(found - wanted).max() <= MOST_DIFFERENCE


@pytest.mark.slow
@LONG
def test_the_same_order_makes_the_same_bytes(tmp_path: Path) -> None:
    folder = exported("tiny-one-layer", write_one_layer, scheme="8da4w")
    source, target = tmp_path / "source.gguf", tmp_path / "again.pte"
    write_one_layer(source)
    made = export_in_child(source, target, scheme="8da4w")
    assert target.read_bytes() == (folder / PROGRAM).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {source.name, target.name}
    stages = [name for name, _ in made.stages]
    assert stages == ["reading weights", "rounding", "tracing", "lowering", "writing"]
    assert [share for _, share in made.stages] == sorted({share for _, share in made.stages})
    assert made.export.seconds.keys() == set(stages)
    assert made.export.size_bytes == target.stat().st_size
    assert made.export.delegated > made.export.undelegated > 0
    assert {tensor.type for tensor in made.export.tensors} == {"int4", "int8", "fp32"}


def test_what_cannot_be_exported_is_refused_before_anything_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    source, target = write_tiny_model(tmp_path / "tiny.gguf"), tmp_path / "tiny.pte"
    order = ExportOrder(sources=(source,), target=target, scheme="8da4w", context_tokens=5000)
    with pytest.raises(InvalidRequest, match="a context of 5000 tokens"):
        export(order, lambda stage, share: None)
    source.write_bytes(b"GGUF")
    with pytest.raises(LoadFailed, match=r"tiny\.gguf"):
        export(order, lambda stage, share: None)


def test_memory_is_refused_before_anything_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.engines.executorch.exporter.export.available_memory_bytes", lambda: 10**8)
    source = write_tiny_model(tmp_path / "tiny.gguf")
    order = ExportOrder(sources=(source,), target=tmp_path / "tiny.pte", scheme="8da4w", context_tokens=512)
    with pytest.raises(NoRoom, match="and 100 MB are available"):
        export(order, lambda stage, share: None)


def test_without_the_libraries_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    source, target = write_tiny_model(tmp_path / "tiny.gguf"), tmp_path / "tiny.pte"
    order = ExportOrder(sources=(source,), target=target, scheme="8da4w", context_tokens=512)
    with pytest.raises(EngineUnavailable, match=r'install it: pip install "localllm\[executorch\]"'):
        export(order, lambda stage, share: None)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("cause", "kind", "message"),
    [
        (RuntimeError("first\n  second\n"), EngineError, f"{FAILED}RuntimeError: first second"),
        (AssertionError("x" * 1000), EngineError, f"{FAILED}AssertionError: {'x' * 284}"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), NoRoom, "there is not enough memory"),
        (ImportError("undefined symbol: a\nb", name="flatbuffers"), EngineUnavailable, "ExecuTorch cannot be used"),
        (ModuleNotFoundError("No", name="torchao.quantization"), EngineUnavailable, "exporting needs ExecuTorch"),
        (LoadFailed("as it is"), LoadFailed, "as it is"),
    ],
)
def test_faults_are_one_line(cause: Exception, kind: type[LocalLLMError], message: str) -> None:
    with pytest.raises(kind) as caught, engine_faults():
        raise cause
    assert type(caught.value) is kind
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_want_of_memory_stays_what_it_is() -> None:
    with pytest.raises(MemoryError), engine_faults():
        raise MemoryError


def test_quiet_is_quiet_and_goes_again(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    before = list(logging.getLogger().handlers)
    with quiet():
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("torch").error("nobody hears")
        warnings.warn("nobody reads", stacklevel=1)
        print("nobody sees")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger().handlers == before
    logging.getLogger("torch").error("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def manager_that(writes: Callable[[BinaryIO], object]) -> Any:
    return SimpleNamespace(export_program=SimpleNamespace(write_to_file=writes))


def test_a_program_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model.pte"

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(NoRoom):
        write_program(manager_that(fail), target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"older")
    assert write_program(manager_that(lambda file: file.write(b"whole")), target) == 5
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]
