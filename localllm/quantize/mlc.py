"""Making a model of MLC LLM: convert, write the config, compile. MLC reads checkpoints alone."""

import shutil
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from localllm.engines.mlc.folder import CONFIG
from localllm.engines.mlc.library import LibraryOrder, find_library
from localllm.engines.mlc.options import AUTO, MOCK
from localllm.engines.mlc.quantizations import DEFAULT_QUANTIZATION, quantization_of
from localllm.errors import InvalidRequest
from localllm.models.files import disk_errors
from localllm.models.on_disk import BESIDE_PTE, CHECKPOINT_CONFIG
from localllm.quantize.making import MadeFile, Making, Wish
from localllm.quantize.material import Material
from localllm.quantize.process.workbench import Workbench
from localllm.quantize.provenance.recipe import MadeFormat, MlcChoices, Recipe
from localllm.quantize.steps import MakeMlc, MlcMade

FORMAT: MadeFormat = "mlc"
_SOURCE_BITS = 16  # of a weight in most checkpoints


class MlcWish(Struct, frozen=True, kw_only=True):
    """What the user wants of a model of MLC, but for the type."""

    context_tokens: int | None = None  # None: what the model was trained for
    device: str = AUTO  # that it is compiled for


class MlcMaking(Making):
    """One checkpoint on one workbench, to be made a model of MLC."""

    def __init__(self, material: Material, wish: Wish, bench: Workbench, mlc: MlcWish) -> None:
        super().__init__(material, wish, bench)
        self._mlc = mlc

    def check(self, type_: str) -> None:
        """Raises InvalidRequest for what is no checkpoint, EngineUnavailable, ConfigError, NoRoom."""
        if not self.material.is_checkpoint:
            raise InvalidRequest(gguf_words(self.material.reference), param="source")
        share = max(1.0, quantization_of(type_).bits / _SOURCE_BITS)
        self.bench.require_room(round(self.material.weights_bytes * share))
        _ = self._device  # looked for before anything takes long

    def make(self, type_: str) -> MadeFile:
        """Have MLC make it. Raises as `check`, and LoadFailed, EngineError."""
        self.check(type_)
        target = self.bench.path("model")
        step = MakeMlc(
            files={name: str(path) for name, path in self.material.files.items()},
            target=str(target),
            quantization=type_,
            context_tokens=self._mlc.context_tokens,
            device=self._device,
        )
        made = self.bench.do("Making a model of MLC", step, MlcMade)
        self._add_tokenizer(target)
        files = {path.name: path for path in sorted(target.iterdir()) if path.is_file()}
        config = files.pop(CONFIG)
        return MadeFile(type=type_, path=config, recipe=self._recipe(type_), quantized=made.model, beside=files)

    @cached_property
    def _device(self) -> str:
        """The one that is meant, as MLC finds it here. Raises EngineUnavailable, ConfigError."""
        return find_library(LibraryOrder(folder="", device=self._mlc.device, model_lib=MOCK)).device

    def _add_tokenizer(self, target: Path) -> None:
        """MLC copies what it reads itself, which is not all that says how texts and chats begin and end."""
        for name in BESIDE_PTE:
            if name in self.material.files and name != CHECKPOINT_CONFIG and not (target / name).exists():
                with disk_errors(f"write to {target}"):
                    shutil.copyfile(self.material.files[name], target / name)

    def _recipe(self, type_: str) -> Recipe:
        wish = self._mlc
        return Recipe(type=type_, format=FORMAT, mlc=MlcChoices(context_tokens=wish.context_tokens, device=wish.device))


def label_of_mlc(type_: str) -> str:
    """What the name of a result says of it."""
    return FORMAT if type_ == DEFAULT_QUANTIZATION else f"{FORMAT}-{type_}"


def gguf_words(name: str) -> str:
    """Why nothing is made of a GGUF."""
    return f"MLC reads checkpoints, and {name} is a GGUF; name the checkpoint that it was made from"
