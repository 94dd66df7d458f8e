"""Putting the program together: from settings to a model on disk and a service that answers with it."""

from collections.abc import Sequence
from pathlib import Path

from localllm.cli.talk import download_bar, say
from localllm.config import Settings
from localllm.engines.plan import LoadPlan, Scheduling
from localllm.errors import ConfigError, DownloadFailed
from localllm.models.card import ModelCard
from localllm.models.catalog import Catalog
from localllm.models.local import LocalModel
from localllm.models.reference import from_manifest, resolve
from localllm.models.store import Manifest, Store
from localllm.runtime.local import LocalService
from localllm.runtime.served import ServedModel


def bring(reference: str, settings: Settings) -> LocalModel:
    """The model that `reference` means, fetched first if it is not on this disk. Raises ModelError."""
    store = Store(settings.home_path)
    found = resolve(reference, store, Catalog.bundled())
    if isinstance(found, LocalModel):
        return found
    return from_manifest(fetch(found, store, settings), store)


def fetch(card: ModelCard, store: Store, settings: Settings) -> Manifest:
    """Pull a model, with a progress bar, and say so."""
    from localllm.models.pull import pull

    if settings.offline:
        raise DownloadFailed(f"{card.name} is not on this disk, and offline mode forbids fetching it")
    say(f"The model {card.name} is not on this disk yet.")
    with download_bar(card.name) as report:
        manifest = pull(card, store, report)
    say(f"Got {manifest.name} ({manifest.file.size_bytes / 1e6:.0f} MB, {manifest.license}), SHA-256 verified.")
    return manifest


def make_service(
    models: Sequence[LocalModel], settings: Settings, *, jobs: int | None = None, keeps_prompts: bool = False
) -> LocalService:
    """A service over models on this disk. `jobs` is how many answers to prepare for where no setting says;
    `keeps_prompts`: what was read of prompts is kept on disk, as far as the settings allow.

    Raises ConfigError, or ModelError for a draft model that cannot be had.
    """
    scheduling = _scheduling(settings, models, keeps_prompts=keeps_prompts)
    return LocalService([ServedModel(model, _plan(model, settings, scheduling, jobs)) for model in models])


def _plan(model: LocalModel, settings: Settings, scheduling: Scheduling, jobs: int | None) -> LoadPlan:
    return LoadPlan(
        engine=model.engine,
        path=model.path,
        identity=model.identity,
        context_tokens=settings.context,
        max_jobs=settings.parallel or jobs,
        threads=settings.threads,
        flash_attention=settings.flash_attention,
        adapters={name: _adapter_path(name, path) for name, path in settings.lora.items()},
        scheduling=scheduling,
    )


def _scheduling(settings: Settings, models: Sequence[LocalModel], *, keeps_prompts: bool) -> Scheduling:
    has_cache = keeps_prompts and settings.cache_bytes > 0
    return Scheduling(
        max_queue=settings.max_queue,
        guessing=settings.guessing,
        draft_path=_draft_path(settings, models) if settings.draft else None,
        cache_path=str(settings.home_path / "kv") if has_cache else None,
        cache_bytes=settings.cache_bytes if has_cache else 0,
        volatile_lines=settings.volatile_lines,
    )


def _draft_path(settings: Settings, models: Sequence[LocalModel]) -> str:
    draft = bring(settings.draft, settings)
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
