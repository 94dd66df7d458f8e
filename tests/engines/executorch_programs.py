"""Small programs of ExecuTorch that are no language models, or strange ones.

`python -m tests.engines.executorch_programs FOLDER` writes them all: what exports them stays out of the tests' process.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from filelock import FileLock
from msgspec import Struct

from tests.conftest import CACHE

if TYPE_CHECKING:
    import torch
    from torch import nn

VOCABULARY, CONTEXT, CHUNK = 259, 16, 8
METADATA: Mapping[str, object] = MappingProxyType(
    {"get_vocab_size": VOCABULARY, "get_max_context_len": CONTEXT, "use_kv_cache": True}
)


class Toy(Struct, frozen=True, kw_only=True):
    """A program: `make` gives the module and its inputs."""

    make: "Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]"
    metadata: Mapping[str, object] = METADATA
    method: str = "forward"


def exported_toys() -> Path:
    """The folder with every program, as NAME.pte: from the cache, or written by a child, which takes half a minute."""
    said = Path(__file__).read_bytes() + importlib.metadata.version("executorch").encode()
    folder = CACHE / "programs" / f"toys-{hashlib.sha256(said).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / "toys.lock"):
        if not folder.exists():
            for older in folder.parent.glob("toys-*"):
                shutil.rmtree(older)
            part = folder.parent / "toys.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            command = [sys.executable, "-m", "tests.engines.executorch_programs", str(part)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            part.rename(folder)
    return folder


def main(folder: Path) -> None:
    """Export them."""
    import warnings

    warnings.simplefilter("ignore")
    import torch
    from executorch.exir import to_edge

    torch.manual_seed(0)
    for name, toy in toys().items():
        module, inputs = toy.make()
        exported = {toy.method: torch.export.export(module.eval(), inputs)}
        program = to_edge(exported, constant_methods=dict(toy.metadata)).to_executorch()
        (folder / f"{name}.pte").write_bytes(program.buffer)


def toys() -> dict[str, Toy]:
    """Each by its name. The first three run; what is wrong with each of the others is its name."""
    import torch
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc]  # torch has no types here
        """Logits [1, VOCABULARY] of the last token: of itself and its position alone."""

        def __init__(self, *, all_logits: bool = False, rows: int = CONTEXT) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCABULARY, 4)
            self.positions = nn.Embedding(rows, 4)
            self.head = nn.Linear(4, VOCABULARY)
            self.all_logits = all_logits
            self.register_buffer("cache", torch.zeros(1))

        def forward(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.tokens(tokens) + self.positions(position))
            return logits if self.all_logits else logits[:, -1]

    class Counting(Model):
        """Also of how often it was called."""

        def forward(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
            self.cache.add_(1.0)
            return super().forward(tokens, position) + self.cache

    class Blind(nn.Module):  # type: ignore[misc]  # torch has no types here
        """No position."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCABULARY, VOCABULARY)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.tokens(tokens)[:, -1]
            return logits

    class Adding(nn.Module):  # type: ignore[misc]  # torch has no types here
        """What comes in, added up."""

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return sum(inputs[1:], start=inputs[0])

    one, place = torch.zeros((1, 1), dtype=torch.long), torch.zeros(1, dtype=torch.long)
    few = torch.zeros((1, CHUNK), dtype=torch.long)
    return {
        "one_token": Toy(make=lambda: (Model(), (one, place))),
        "all_logits": Toy(make=lambda: (Model(all_logits=True), (one.int(), place.int()))),
        "silent": Toy(make=lambda: (Model(), (one, place)), metadata={"get_max_seq_len": CONTEXT}),
        "no_forward": Toy(make=lambda: (Model(), (one, place)), method="encode"),
        "no_position": Toy(make=lambda: (Blind(), (few,)), metadata={}),
        "no_cache": Toy(make=lambda: (Model(), (one, place)), metadata={**METADATA, "use_kv_cache": False}),
        "three_inputs": Toy(make=lambda: (Adding(), (one, place, place))),
        "real_tokens": Toy(make=lambda: (Adding(), (one.float(), place))),
        "flat_tokens": Toy(make=lambda: (Adding(), (place, place))),
        "no_logits": Toy(make=lambda: (Adding(), (one, place))),
        "vocabulary_lie": Toy(make=lambda: (Model(), (one, place)), metadata={**METADATA, "get_vocab_size": 1000}),
        "no_context": Toy(make=lambda: (Model(), (one, place)), metadata={"get_vocab_size": VOCABULARY}),
        "context_lie": Toy(
            make=lambda: (Model(), (one, place)), metadata={**METADATA, "get_max_context_len": CONTEXT + 1}
        ),
        "negative_context": Toy(make=lambda: (Model(), (one, place)), metadata={**METADATA, "get_max_context_len": -5}),
        "fixed_length": Toy(make=lambda: (Model(all_logits=True), (few, place))),
        "recurrent": Toy(make=lambda: (Counting(), (one, place))),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
