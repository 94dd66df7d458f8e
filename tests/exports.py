"""The tiny model as a program of ExecuTorch, exported once and kept between runs.

A test module that wants it says `from tests.exports import tiny_program  # noqa: F401`.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock
from msgspec import Struct

from localllm.engines.executorch.exporter.order import Export
from tests.conftest import CACHE
from tests.tiny import SPECIAL, TEMPLATE, byte_names, write_tiny_model

CONTEXT = 512
PROGRAM, TOKENIZER, TOKENIZER_CONFIG = "tiny.pte", "tokenizer.json", "tokenizer_config.json"
WHY_SKIPPED = 'needs the extra: pip install "localllm[executorch]"'
_EXPORTER = Path(__file__).parent.parent / "localllm" / "engines" / "executorch" / "exporter"
_MAKERS = ("torch", "torchao", "executorch")
_CHILD = """
import sys
from pathlib import Path
import msgspec
from localllm.engines.executorch.exporter.export import export
from localllm.engines.executorch.exporter.order import ExportOrder

source, target, scheme, context = sys.argv[1:]
order = ExportOrder(sources=(Path(source),), target=Path(target), scheme=scheme, context_tokens=int(context))
stages = []
made = export(order, lambda stage, share: stages.append((stage, share)))
sys.stdout.buffer.write(msgspec.json.encode({"stages": stages, "export": made}))
"""


class Made(Struct, frozen=True):
    """What came of an export, and the stages that it told of."""

    stages: list[tuple[str, float]]
    export: Export


@pytest.fixture(scope="session")
def tiny_program() -> Path:
    """A folder with tiny.pte (8da4w, 512 tokens of context), tokenizer.json and tokenizer_config.json.

    Exporting takes up to a minute or two, and is done again when the exporter or what it stands on has changed.
    """
    return exported("tiny", write_tiny_model, scheme="8da4w")


def skip_without_executorch() -> None:
    """Leave out a test, or a module, where what exports and runs programs is not installed."""
    if any(importlib.util.find_spec(name) is None for name in (*_MAKERS, "tokenizers")):
        pytest.skip(WHY_SKIPPED, allow_module_level=True)


def exported(name: str, write_model: Callable[[Path], object], *, scheme: str, context: int = CONTEXT) -> Path:
    """The folder with the program of the model that `write_model` writes, from the cache where it is there."""
    skip_without_executorch()
    room = CACHE / "programs" / name
    room.mkdir(parents=True, exist_ok=True)
    with FileLock(room / ".lock"):
        part = room / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        source = part / "source.gguf"
        write_model(source)
        folder = room / _key(source, scheme, context)
        if not folder.exists():
            _fill(part, source, scheme, context)
            for older in room.glob("[0-9a-f]*"):
                shutil.rmtree(older)
            part.rename(folder)
    return folder


def export_in_child(source: Path, target: Path, *, scheme: str, context: int = CONTEXT) -> Made:
    """What the exporter imports stays out of this process. Nothing else may come over its stdout."""
    command = [sys.executable, "-c", _CHILD, str(source), str(target), scheme, str(context)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.fail(f"the export ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Made)


def _fill(folder: Path, source: Path, scheme: str, context: int) -> None:
    export_in_child(source, folder / PROGRAM, scheme=scheme, context=context)
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(_tokenizer_config()), "utf-8")
    _write_tokenizer(folder / TOKENIZER)


def _key(source: Path, scheme: str, context: int) -> str:
    """Of all that a program depends on."""
    digest = hashlib.sha256(f"{scheme} {context}".encode())
    for path in [source, Path(__file__), *sorted(_EXPORTER.glob("*.py")), _EXPORTER / "delegates" / "xnnpack.py"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for package in _MAKERS:
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()[:16]


def _write_tokenizer(path: Path) -> None:
    """The vocabulary of `tests/tiny.py`: bytes, which nothing joins."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: place for place, token in enumerate([*SPECIAL, *byte_names()])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(path))


def _tokenizer_config() -> dict[str, object]:
    return {
        "add_bos_token": False,
        "bos_token": SPECIAL[0],
        "chat_template": TEMPLATE,
        "eos_token": SPECIAL[2],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
