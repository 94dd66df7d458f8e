"""Putting the program together: from settings to a model on disk and a service that answers with it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.cli.extras import missing_words, require_engine, require_extra
from localllm.cli.placing import Placer
from localllm.cli.talk import NOTHING_HERE, download_bar, reading_bar, say, warn
from localllm.config import Settings
from localllm.engines.plan import Scheduling
from localllm.errors import ConfigError, LoadFailed, LocalLLMError
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.resolve import Pullable
from localllm.runtime.library import Library
from localllm.runtime.local import LocalService
from localllm.types import Workload
from localllm.units import size_words

if TYPE_CHECKING:
    from localllm.models.verify import ModelCheck
    from localllm.models.wanted import Wanted


def bring(reference: str, settings: Settings) -> LocalModel:
    """The model that `reference` means, fetched first if it is not on this disk.

    Raises ModelError, and EngineUnavailable where what runs it is not installed.
    """
    library = Library(settings)
    found = library.resolve(reference)
    if not isinstance(found, LocalModel):
        found = library.load(fetch(found, library, to_run=True))
    require_engine(found.engine, offline=settings.offline)
    return found


def fetch(pullable: Pullable, library: Library, *, to_run: bool = False) -> Manifest:
    """Pull a model, with a progress bar, and say so.

    Raises LoadFailed before anything is fetched `to_run` that no engine runs, EngineUnavailable where the one that does
    is not installed.
    """
    wanted = library.choose(pullable)
    if wanted.format == "pte" and to_run:
        require_extra("executorch")
    elif wanted.format == "pte" and (missing := missing_words("executorch")):
        warn(f"{wanted.name} is a program of ExecuTorch, and {missing}")
    if wanted.format == "safetensors":
        doubt = f"{wanted.name} is a checkpoint, which no engine here runs as it is"
        way = f"turn it into a GGUF file: localllm quantize {wanted.name}"
        if to_run:
            raise LoadFailed(f"{doubt}; name a repository of GGUF files, or {way}")
        warn(f"{doubt}; {way}")
    if wanted.reason:
        say(f"No quant was named; taking {wanted.reason}.")
    before = library.missing_bytes(wanted)
    manifest = get(wanted, library)
    if before:
        say(f"Got {manifest.name} ({size_words(manifest.size_bytes)}, {manifest.license}), SHA-256 verified.")
    else:
        say(f"{manifest.name} is already on this disk.")
    return manifest


def get(wanted: "Wanted", library: Library) -> Manifest:
    """Fetch what is known to be wanted, with a progress bar."""
    with download_bar(wanted.name) as report:
        return library.pull(wanted, report, warn)


def named_or_all(library: Library, references: Sequence[str] | None) -> tuple[list[Manifest], list[LocalLLMError]]:
    """The stored models that are named, each once; without a name all, and what is wrong with those that cannot be
    read. Raises ModelNotFound, IntegrityError for one that is named."""
    if references:
        named = {manifest.name: manifest for manifest in map(library.stored, references)}
        return list(named.values()), []
    survey = library.store.survey()
    if not (survey.manifests or survey.damages):
        say(NOTHING_HERE)
    return survey.manifests, list(survey.damages)


def check_models(library: Library, manifests: Iterable[Manifest]) -> "Iterator[ModelCheck]":
    """Read every byte of these models, each when its turn comes, with a progress bar."""
    from localllm.models.verify import verify

    for manifest in manifests:
        with reading_bar(manifest.name) as report:
            check = verify(manifest, library.store, report)
        yield check


def make_service(
    models: Sequence[LocalModel],
    settings: Settings,
    *,
    jobs: int | None = None,
    keeps_prompts: bool = False,
    workload: Workload = "chat",
) -> LocalService:
    """A service over models on this disk. `jobs` is how many answers to prepare for where no setting says;
    `keeps_prompts`: what was read of prompts is kept on disk, as far as the settings allow; `workload` is what
    --engine auto chooses for where no setting says. Measuring engines, which that may do, needs a loop of its own.

    Raises ConfigError, EngineUnavailable, or ModelError, also for a draft model that cannot be had.
    """
    library = Library(settings)
    placer = Placer(
        settings=settings,
        store=library.store,
        scheduling=_scheduling(settings, models, keeps_prompts=keeps_prompts),
        adapters={name: _adapter_path(name, path) for name, path in settings.lora.items()},
        jobs=jobs,
        workload=settings.workload or workload,
    )
    served = [placer.place(model, lambda one, its: make_service([one], its)) for model in models]
    return LocalService(served, library.known_as)


def _scheduling(settings: Settings, models: Sequence[LocalModel], *, keeps_prompts: bool) -> Scheduling:
    has_cache = keeps_prompts and settings.cache_bytes > 0
    return Scheduling(
        max_queue=settings.max_queue,
        guessing=settings.guessing,
        draft_path=_draft_path(settings, models) if settings.draft else None,
        cache_path=str(settings.home_path / "kv") if has_cache else None,
        cache_bytes=settings.cache_bytes if has_cache else 0,
        shares_prompts=settings.share_cache or not settings.keys,
        volatile_lines=settings.volatile_lines,
    )


def _draft_path(settings: Settings, models: Sequence[LocalModel]) -> str:
    draft = bring(settings.draft, settings)
    if draft.engine == "executorch":
        raise ConfigError(
            f"draft: {draft.id} is a program of ExecuTorch, which gains nothing by guessing; leave it out"
        )
    other = next((model for model in models if model.engine != draft.engine), None)
    if other is not None:
        raise ConfigError(f"draft: {draft.id} cannot guess for {other.id}, which another engine runs")
    return draft.path


def _adapter_path(name: str, path: str) -> str:
    if not name or not path:
        raise ConfigError("lora: an adapter needs a name and a path, like NAME=PATH")
    try:
        found = Path(path).expanduser()
        is_file = found.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in the path, and the home of nobody
        raise ConfigError(f"lora: the adapter {name!r}: {error}") from error
    if not is_file:
        raise ConfigError(f"lora: there is no file {found} for the adapter {name!r}")
    return str(found)
