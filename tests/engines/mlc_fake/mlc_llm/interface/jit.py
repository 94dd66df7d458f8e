"""Compiling when a model is loaded: as the real one, by its own command in a process, into a cache."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


@dataclasses.dataclass
class JITResult:
    """As the real one."""

    model_lib_path: str


def jit(model_path: Path, overrides: dict[str, object], device: object) -> JITResult:
    """The library, from $MLC_LLM_HOME/model_lib or compiled; MLC_JIT_POLICY may forbid that."""
    policy = os.environ.get("MLC_JIT_POLICY", "ON")
    if policy == "OFF":
        raise RuntimeError("JIT is disabled by MLC_JIT_POLICY=OFF")
    kind = getattr(device, "kind", "cpu")
    config = json.loads((model_path / "mlc-chat-config.json").read_text("utf-8"))
    facts = [config[name] for name in ("model_type", "quantization", "model_config", "context_window_size")]
    key = hashlib.sha256(f"{facts} {overrides} {kind}".encode()).hexdigest()[:16]
    target = Path(os.environ["MLC_LLM_HOME"]) / "model_lib" / f"{key}.so"
    if target.is_file() and policy != "REDO":
        return JITResult(str(target))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "lib.so"
        command = [sys.executable, "-m", "mlc_llm", "compile", str(model_path), "--device", kind, "--output", str(made)]
        subprocess.run(command, check=False)
        if not made.is_file():
            raise RuntimeError("Cannot find compilation output, compilation failed")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, target)
    return JITResult(str(target))
