"""Putting the program together: from settings to a model on disk and a service that answers with it."""

from collections.abc import Sequence

from localllm.cli.talk import download_bar, say
from localllm.config import Settings
from localllm.engines.plan import LoadPlan
from localllm.errors import DownloadFailed
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


def make_service(models: Sequence[LocalModel], settings: Settings, *, jobs: int | None = None) -> LocalService:
    """A service over models on this disk. `jobs` is how many answers to prepare for where no setting says."""
    return LocalService([ServedModel(model, _plan(model, settings, jobs)) for model in models])


def _plan(model: LocalModel, settings: Settings, jobs: int | None) -> LoadPlan:
    return LoadPlan(
        engine=model.engine,
        path=model.path,
        context_tokens=settings.context,
        max_jobs=settings.parallel or jobs,
        threads=settings.threads,
        flash_attention=settings.flash_attention,
    )
