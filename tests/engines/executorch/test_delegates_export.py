"""What each back end needs to be exported for, and what comes of it where it can be tried."""

import ctypes
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import tests.tiny
from localllm.engines.executorch.exporter.delegates import openvino
from localllm.engines.executorch.exporter.delegates.base import Delegate
from localllm.engines.executorch.exporter.delegates.coreml import CoreMl
from localllm.engines.executorch.exporter.delegates.openvino import OpenVino
from localllm.engines.executorch.exporter.delegates.qualcomm import Qualcomm
from localllm.engines.executorch.exporter.delegates.registry import DELEGATE_NAMES, delegate_of
from localllm.engines.executorch.exporter.delegates.vulkan import Vulkan
from localllm.engines.executorch.exporter.order import Export
from localllm.engines.executorch.exporter.schemes import SCHEMES
from localllm.models.pte.header import read_program
from tests.convert.families.native_scores import native_scores
from tests.exports import skip_without_executorch
from tests.tiny import write_tiny_model

LONG = pytest.mark.timeout(900)  # where the machine does much else
CONTEXT = 64
TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 259, 24)]

EXPORT = """
import sys
from pathlib import Path
import msgspec
from localllm.engines.executorch.exporter.export import export
from localllm.engines.executorch.exporter.order import ExportOrder

source, target, scheme, delegate, context = sys.argv[1:]
order = ExportOrder(
    sources=(Path(source),), target=Path(target), scheme=scheme, delegate=delegate, context_tokens=int(context)
)
sys.stdout.buffer.write(msgspec.json.encode(export(order, lambda stage, share: None)))
"""

RUN = """
import sys
from pathlib import Path
import numpy as np, torch
from executorch.runtime import Runtime

path, target, *tokens = sys.argv[1:]
method = Runtime.get().load_program(Path(path)).load_method("forward")
logits = [
    method.execute((torch.tensor([[int(token)]]), torch.tensor([place])))[0][0].numpy()
    for place, token in enumerate(tokens)
]
np.save(target, np.stack(logits))
"""

# How each delegate's model changes its attention, and leaves what it computes as it was.
PREPARE = """
import json
import sys
from pathlib import Path
import torch
from localllm.engines.executorch.exporter.angles import angles_of
from localllm.engines.executorch.exporter.delegates.registry import DELEGATE_NAMES, delegate_of
from localllm.engines.executorch.exporter.layout import layout_of
from localllm.engines.executorch.exporter.model import build_model
from localllm.engines.executorch.exporter.quiet import quiet
from localllm.engines.executorch.exporter.shape import shape_of
from localllm.engines.executorch.exporter.weights import StoredWeights, state_of
from localllm.models.gguf.header import read_header

path, context, *tokens = sys.argv[1:]
headers = [read_header(Path(path))]
shape = shape_of(headers)

def model():
    weights = StoredWeights(headers, [Path(path)])
    return build_model(shape, state_of(weights, layout_of(shape)), angles_of(shape, None, int(context)), int(context))

def logits(model):
    with torch.no_grad():
        return torch.cat([
            model(torch.tensor([[int(token)]]), {"input_pos": torch.tensor([place])})
            for place, token in enumerate(tokens)
        ])

with quiet():
    expected = logits(model())
    found = {name: logits(delegate_of(name).prepare(model())) for name in DELEGATE_NAMES}
print(json.dumps({name: float((each - expected).abs().max()) for name, each in found.items()}))
"""


def run(program: str, *arguments: object) -> bytes:
    """In a process of its own: torch and what it brings warn of their own matters."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout


def write_one_layer(path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.tiny, "LAYERS", 1)
        return write_tiny_model(path)


def exported(folder: Path, *, scheme: str, delegate: str) -> tuple[Path, Export]:
    """A model of one layer."""
    skip_without_executorch()
    source, target = write_one_layer(folder / "source.gguf"), folder / f"{delegate}.pte"
    made = run(EXPORT, source, target, scheme, delegate, CONTEXT)
    return target, msgspec.json.decode(made, type=Export)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Have these packages installed, in these versions, and no others."""

    def install(versions: dict[str, str]) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in versions else None)
        monkeypatch.setattr(openvino, "version", versions.__getitem__)

    return install


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({}, "exporting for OpenVINO needs the package openvino, which is not installed here"),
        ({"openvino": "2025.4.1"}, "exporting for OpenVINO needs the package nncf, which is not installed here"),
        ({"openvino": "2025.3.0", "nncf": "3.2.0"}, "does not work with openvino 2025.3"),
        ({"openvino": "2026.0.0", "nncf": "3.2.0"}, "does not work with openvino 2026.0"),
        ({"openvino": "2025.4.1", "nncf": "3.0.0"}, "does not work with nncf 3.0"),
        ({"openvino": "2025.4.1", "nncf": "3.4.0"}, "does not work with nncf 3.4"),
        ({"openvino": "2025.4.1", "nncf": "unknown"}, "does not work with nncf of an unknown version"),
        ({"openvino": "2025.4.1", "nncf": "3.1.0"}, ""),
        ({"openvino": "2025.4.1", "nncf": "3.2.0.dev0"}, ""),
    ],
)
def test_openvino_needs_packages_that_fit(
    packages: Callable[[dict[str, str]], None], versions: dict[str, str], words: str
) -> None:
    packages(versions)
    found = OpenVino().missing()
    assert words in found
    assert found.endswith('; pip install "openvino>=2025.4,<2026" "nncf>=3.1,<3.3"') == bool(words)


def test_core_ml_needs_coremltools(packages: Callable[[dict[str, str]], None]) -> None:
    packages({})
    assert "exporting for Core ML needs coremltools 9.0" in CoreMl().missing()
    assert "pip install coremltools==9.0" in CoreMl().missing()
    packages({"coremltools": "9.0"})
    assert CoreMl().missing() == ""


@pytest.mark.parametrize(
    ("system", "machine", "library", "words"),
    [
        ("Linux", "x86_64", False, "whose libQnnHtp.so cannot be loaded here; get it from qualcomm.com"),
        ("Linux", "aarch64", True, "whose compiler runs on Linux on x86-64; export there"),
        ("Darwin", "x86_64", True, "whose compiler runs on Linux on x86-64; export there"),
        ("Windows", "AMD64", True, "whose compiler runs on Linux on x86-64; export there"),
        ("Linux", "x86_64", True, ""),
    ],
)
def test_qualcomm_needs_its_sdk(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, library: bool, words: str
) -> None:
    def load(name: str) -> None:
        assert name == "libQnnHtp.so"
        if not library:
            raise OSError("cannot open shared object file")

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(ctypes, "CDLL", load)
    found = Qualcomm().missing()
    assert words in found
    assert bool(words) == bool(found)
    assert "\n" not in found


@pytest.mark.parametrize("name", DELEGATE_NAMES)
def test_a_delegate_imports_nothing_before_it_is_asked(name: str) -> None:
    heavy = ("torch", "executorch", "torchao", "openvino", "nncf", "coremltools")
    code = f"""
import sys
from localllm.engines.executorch.exporter.delegates.registry import delegate_of
delegate_of({name!r}).missing()
print([name for name in {heavy} if name in sys.modules])
"""
    assert run(code) == b"[]\n"


@pytest.mark.parametrize(
    ("delegate", "is_dynamic", "was_run", "usual"),
    [
        (OpenVino(), False, True, "8w"),
        (CoreMl(), False, False, "4w"),
        (Qualcomm(), False, False, "fp16"),
        (Vulkan(), True, False, "8da4w-all"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_not_known_of_its_programs_is_said(
    delegate: Delegate, is_dynamic: bool, was_run: bool, usual: str
) -> None:
    assert type(delegate_of(delegate.name)) is type(delegate)
    assert (delegate.is_dynamic, delegate.schemes[0]) == (is_dynamic, usual)
    assert ("not run" in delegate.warning) != was_run
    assert all(SCHEMES[name] for name in delegate.schemes)


@pytest.mark.slow
@LONG
def test_a_prepared_model_computes_what_it_did(tmp_path: Path) -> None:
    skip_without_executorch()
    model = write_tiny_model(tmp_path / "tiny.gguf")
    differences = msgspec.json.decode(run(PREPARE, model, CONTEXT, *TOKENS), type=dict[str, float])
    assert differences.keys() == set(DELEGATE_NAMES)
    assert all(0 <= difference < 1e-4 for difference in differences.values()), differences


@pytest.mark.slow
@LONG
def test_core_ml_takes_all_but_the_kv_cache(tmp_path: Path) -> None:
    skip_without_executorch()
    if CoreMl().missing():
        pytest.skip(CoreMl().missing())
    path, made = exported(tmp_path, scheme="4w", delegate="coreml")
    assert read_program(path).backends == ("CoreMLBackend",)
    assert made.delegated > 10 * made.undelegated > 0
    assert made.warnings == (CoreMl().warning,)
    assert {tensor.type for tensor in made.tensors} == {"int4", "int8", "fp32"}


@pytest.mark.slow
@LONG
@pytest.mark.parametrize(("scheme", "most"), [("fp32", 0.0001), ("8w", 0.1)])
def test_openvino_answers_like_llama_cpp(tmp_path: Path, scheme: str, most: float) -> None:
    skip_without_executorch()
    if OpenVino().missing():
        pytest.skip(OpenVino().missing())
    path, made = exported(tmp_path, scheme=scheme, delegate="openvino")
    assert read_program(path).backends == ("OpenvinoBackend",)
    assert made.warnings == ()
    run(RUN, path, tmp_path / "logits.npy", *TOKENS)
    found = np.load(tmp_path / "logits.npy")
    expected = native_scores(tmp_path / "source.gguf", TOKENS, CONTEXT)
    assert expected.std() > 1
    assert np.abs(found - expected).mean() <= most
