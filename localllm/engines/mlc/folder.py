"""The folder of a model that MLC has converted, checked, and set up for its engine.

mlc-chat-config.json (mlc_llm/protocol/mlc_chat_config.py) says what the model is; tensor-cache.json, or in older
folders ndarray-cache.json, lists the files of weights (tvm/contrib/tvmjs.py).
"""

import json
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from localllm.engines.plan import LoadPlan
from localllm.errors import LoadFailed
from localllm.models.files import alias
from localllm.models.model_files import ModelFiles, parse

CONFIG = "mlc-chat-config.json"
WEIGHT_LISTS = ("tensor-cache.json", "ndarray-cache.json")

_AGAIN = "get the model again, or convert it again: localllm quantize SOURCE --to mlc"
_MOST_BYTES = dict.fromkeys(WEIGHT_LISTS, 256 * 2**20)  # a line for each tensor


class MlcConfig(Struct, frozen=True, kw_only=True):
    """What is read of an mlc-chat-config.json. -1 is MLC's word for none."""

    model_type: str
    quantization: str
    context_window_size: int = -1
    sliding_window_size: int = -1
    model_task: str = "chat"
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def window_tokens(self) -> int | None:
        """The most that the model attends to; None where it does not say."""
        sizes = (self.sliding_window_size, self.context_window_size)
        return next((size for size in sizes if size > 0), None)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Those that it names."""
        listed = self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]
        return tuple(token for token in listed if token is not None and token >= 0)


class _Shard(Struct, frozen=True, rename={"filename": "dataPath", "size_bytes": "nbytes"}):
    filename: str
    size_bytes: int


class _WeightList(Struct, frozen=True):
    records: list[_Shard]


class MlcFolder:
    """The files of a model by their names, wherever they lie."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Raises LoadFailed, naming the file, for what is missing, broken or of another size than is listed."""
        self.files = files
        self._text = _files(files).text(CONFIG)
        self.config = parse(self._text, MlcConfig, CONFIG, again=_AGAIN)
        if self.config.model_task != "chat":
            raise LoadFailed(
                f"this model of MLC is for {self.config.model_task[:40]}, and only chats and texts are run"
            )
        _check_weights(files)

    @classmethod
    def of(cls, plan: LoadPlan) -> "MlcFolder":
        """That of a plan, whose path is the folder, or its config with the other files beside it. Raises LoadFailed."""
        path = Path(plan.path)
        if plan.beside:
            return cls({CONFIG: path} | {name: Path(place) for name, place in plan.beside.items()})
        folder = path if path.is_dir() else path.parent
        if path != folder and path.name != CONFIG:
            raise LoadFailed(f"{path} is no model of MLC; name its folder, which has an {CONFIG}")
        try:
            return cls({found.name: found for found in sorted(folder.iterdir()) if found.is_file()})
        except (OSError, ValueError) as error:
            raise LoadFailed(f"cannot read {folder}: {error}; check the path and its permissions") from error

    @contextmanager
    def set_up(self, end_tokens: Iterable[int]) -> Generator[Path, None, None]:
        """A folder of links to the files, and a config that ends an answer at `end_tokens` and nowhere else.

        What MLC adds to a request by itself is taken out of the config: the strings and tokens that end answers in its
        own chat templates, and a penalty for repetition that no request can turn off. Raises LoadFailed.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="localllm-mlc-", ignore_cleanup_errors=True) as name:
                folder = Path(name)
                for filename, path in self.files.items():
                    if filename != CONFIG:
                        alias(path.absolute(), folder / filename)
                (folder / CONFIG).write_text(self._without_own_ends(end_tokens), "utf-8")
                yield folder
        except OSError as error:
            raise LoadFailed(f"cannot set up a folder for MLC: {error}") from error

    def _without_own_ends(self, end_tokens: Iterable[int]) -> str:
        config = json.loads(self._text)
        template = config.get("conv_template")
        if isinstance(template, dict):
            template |= {"stop_str": [], "stop_token_ids": sorted(end_tokens)}
        return json.dumps(config | {"repetition_penalty": 1.0})


def _check_weights(files: Mapping[str, Path]) -> None:
    name = next((name for name in WEIGHT_LISTS if name in files), None)
    if name is None:
        raise LoadFailed(f"there is no {WEIGHT_LISTS[0]} beside {CONFIG}; {_AGAIN}")
    shards = parse(_files(files).data(name), _WeightList, name, again=_AGAIN).records
    if not shards:
        raise LoadFailed(f"{name} lists no weights; {_AGAIN}")
    for shard in shards:
        path = files.get(shard.filename)
        if path is None:
            raise LoadFailed(f"{shard.filename[:80]} is missing, which {name} lists; {_AGAIN}")
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise LoadFailed(f"cannot read {shard.filename}: {error}; {_AGAIN}") from error
        if size_bytes != shard.size_bytes:
            raise LoadFailed(f"{shard.filename} has {size_bytes} bytes, and {name} says {shard.size_bytes}; {_AGAIN}")


def _files(paths: Mapping[str, Path]) -> ModelFiles:
    return ModelFiles(paths, again=_AGAIN, most_bytes=_MOST_BYTES)
