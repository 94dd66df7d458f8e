"""Finding ExecuTorch's runtime: lean where that goes, by the package's own way elsewhere, and an error of ours where
there is none."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from localllm.engines.base import Batch
from localllm.engines.executorch import native
from localllm.errors import EngineUnavailable, NoRoom
from tests.exports import PROGRAM, skip_without_executorch

skip_without_executorch()

from localllm.engines.executorch.memory import fit_copies  # noqa: E402
from localllm.engines.executorch.runner import pieces  # noqa: E402

GB = 10**9


def test_what_is_not_installed_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r'pip install "localllm\[executorch\]"'):
        native._open(1)


def test_packages_that_do_not_fit_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("undefined symbol:\n _ZN2at4_ops5zeros4callE")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(EngineUnavailable, match=r"executorch 1\..* with torch 2\..*: undefined symbol: _ZN2at.*pip"):
        native._open(1)


CHILD = """
import sys
from localllm.engines.executorch import native
from localllm.engines.executorch.program import require
from localllm.models.pte.header import read_program
from pathlib import Path

{change}
runtime = native.open_runtime(2)
assert runtime.threads == 2
path = Path(sys.argv[1])
require(read_program(path), runtime, path)
forward = runtime.load_program(str(path)).load_method("forward")
print(*(name for name in ("torchao", "executorch.exir", "executorch.extension.pybindings.portable_lib")
        if name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "imported"),
    [
        ("", ""),
        (
            "native._BINDINGS = 'executorch.moved'",
            "torchao executorch.exir executorch.extension.pybindings.portable_lib",
        ),
    ],
    ids=["lean", "by the package's own way"],
)
def test_a_program_is_loaded_without_more_than_it_needs(tiny_program: Path, change: str, imported: str) -> None:
    command = [sys.executable, "-W", "error", "-c", CHILD.format(change=change), str(tiny_program / PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == imported
    assert "torchao" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("native._KERNELS = ()", "needs the kernel llama::custom_sdpa.out, llama::update_cache.out, quantized"),
        ("native.Runtime.has_back_end = lambda self, name: False", "needs the back end XnnpackBackend, which"),
    ],
)
def test_what_is_missing_is_named(tiny_program: Path, change: str, words: str) -> None:
    command = [sys.executable, "-c", CHILD.format(change=change), str(tiny_program / PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"LoadFailed: {tiny_program / PROGRAM} {words}" in done.stderr


@pytest.mark.parametrize(
    ("program_bytes", "planned_bytes", "free", "jobs", "copies"),
    [
        (100_000_000, 50_000_000, 16 * GB, None, 4),
        (400_000_000, 50_000_000, 4 * GB, None, 2),
        (3 * GB, GB, 16 * GB, None, 1),
        (3 * GB, GB, 0, None, 1),
        (3 * GB, GB, 0, 1, 1),
        (GB, GB, 16 * GB, 8, 8),
    ],
)
def test_as_many_copies_as_fit(
    program_bytes: int, planned_bytes: int, free: int, jobs: int | None, copies: int
) -> None:
    fit = fit_copies(program_bytes=program_bytes, planned_bytes=planned_bytes, available_bytes=free, jobs=jobs)
    assert fit == copies


def test_more_copies_than_fit_are_refused() -> None:
    with pytest.raises(NoRoom, match=r"9 copies of this program need 18\.0 GB, 16\.0 GB are free; lower --parallel"):
        fit_copies(program_bytes=GB, planned_bytes=GB, available_bytes=16 * GB, jobs=9)


@pytest.mark.parametrize(
    ("pushes", "most", "expected"),
    [
        ([], 4, []),
        ([(2, 7, 1, 0)], 4, [(0, 1)]),
        ([(0, 0, 3, 1)], 4, [(0, 3)]),
        ([(0, 0, 3, 0)], 4, [(0, 3)]),
        ([(0, 0, 9, 1)], 4, [(0, 4), (4, 8), (8, 9)]),
        ([(0, 0, 4, 3)], 4, [(0, 2), (2, 3), (3, 4)]),
        ([(0, 5, 1, 1), (1, 6, 1, 1)], 4, [(0, 1), (1, 2)]),
        ([(0, 5, 2, 0), (1, 7, 2, 0)], 4, [(0, 2), (2, 4)]),
        ([(0, 5, 2, 0), (0, 9, 2, 0)], 4, [(0, 2), (2, 4)]),
        ([(0, 5, 2, 0), (0, 7, 2, 1)], 4, [(0, 4)]),
    ],
)
def test_a_batch_is_cut_into_calls(
    pushes: list[tuple[int, int, int, int]], most: int, expected: list[tuple[int, int]]
) -> None:
    batch = Batch(16)
    for slot, start, count, logits in pushes:
        batch.add(slot, start, [1] * count, logits=logits)
    assert list(pieces(batch, most)) == expected
    assert not np.any(batch.wants_logits[batch.size :])
