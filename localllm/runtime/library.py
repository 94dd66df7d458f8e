"""The models of this machine: what is here, what could be fetched, and bringing, mending and renewing it."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from localllm.config import Settings
from localllm.devices.cpu import available_memory_bytes
from localllm.errors import DownloadFailed, InvalidRequest, ModelError
from localllm.models.catalog import Catalog
from localllm.models.digest import Digest
from localllm.models.local import LocalModel
from localllm.models.manifest import FileSource, Head, MadeSource, Manifest
from localllm.models.names import ModelName, is_model_name
from localllm.models.on_disk import from_manifest
from localllm.models.progress import OnProgress
from localllm.models.reference import HubReference, NameReference, PathReference, parse
from localllm.models.resolve import Pullable, find, resolve, stored_name
from localllm.models.storage.store import Store

# What asks the hub, reads headers or measures the machine is imported where it is used: most verbs, and the server
# once its models are here, do without.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from localllm.models.choose import Hub
    from localllm.models.gguf.header import GgufHeader
    from localllm.models.hub.repository import HubRepository
    from localllm.models.import_file import Candidate
    from localllm.models.import_file import OnProgress as OnRead
    from localllm.models.pte.header import ProgramFacts
    from localllm.models.verify import ModelCheck
    from localllm.models.wanted import Wanted
    from localllm.runtime.outlook import Outlook
    from localllm.runtime.program_outlook import ProgramOutlook

Warn = Callable[[str], None]


class Library:
    """One store, one catalog, and the hub as the settings allow it."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.home_path)
        self.catalog = Catalog.bundled()
        self._settings = settings

    def resolve(self, reference: str) -> LocalModel | Pullable:
        """What `reference` means. Raises ModelNotFound, LoadFailed."""
        return resolve(reference, self.store, self.catalog)

    def find(self, reference: str) -> Manifest | LocalModel | Pullable:
        """As `resolve`, with a stored model as its manifest."""
        return find(reference, self.store, self.catalog)

    def stored(self, reference: str) -> Manifest:
        """The stored model that `reference` means, whole or not. Raises ModelNotFound, IntegrityError."""
        name = self.require_name(reference)
        manifest = self.store.current(name)
        if manifest is None:
            raise DownloadFailed(f"the manifest of {name} is gone; pull it again: localllm pull {name}")
        return manifest

    def require_name(self, reference: str) -> str:
        """The name of the stored model that `reference` means, whole or damaged. Raises ModelNotFound."""
        return stored_name(reference, self.store, self.catalog)

    def known_as(self, reference: str) -> str | None:
        """The name of the stored model that `reference` means; None for anything else. A path means none."""
        try:
            return self.require_name(reference)
        except ModelError:
            return None

    def head(self, reference: str) -> Head:
        """Which version of a stored model is in use, and which others are here. Raises ModelNotFound."""
        return self.store.require(self.require_name(reference))

    def copy(self, manifest: Manifest, name: str) -> Manifest:
        """A stored model under another name as well, with the same files. Raises InvalidRequest."""
        self._check_is_free(name)
        return self.store.commit(msgspec.structs.replace(manifest, name=name, follows=""))

    def take_in(self, candidate: "Candidate", on_progress: "OnRead", *, link: bool) -> Manifest:
        """A model that is on this machine already, copied or used in place. Raises InvalidRequest where another
        model has its name, LoadFailed, NoRoom."""
        from localllm.models import import_file

        known = self.store.current(candidate.name)
        if known is None:
            self._check_is_free(candidate.name)
        elif not all(isinstance(file.origin, FileSource) for file in known.files):
            origin = "made here" if any(isinstance(file.origin, MadeSource) for file in known.files) else "pulled"
            raise InvalidRequest(f"there is a {candidate.name} that was {origin}; choose another with --name")
        return (
            import_file.link(candidate, self.store, on_progress)
            if link
            else import_file.copy(candidate, self.store, on_progress)
        )

    def name_for_made(self, name: ModelName, *, is_wanted: bool) -> ModelName:
        """What a model that is made here is called: `name`, unless that is what a known model is called when it is
        pulled, and the user did not ask for it. Raises InvalidRequest where the name is another model's."""
        known = self.store.current(name)
        if known is not None and all(isinstance(file.origin, MadeSource) for file in known.files):
            return name  # another version of it
        if known is None and not is_wanted and self.catalog.find(name) is not None:
            return self.name_for_made(ModelName(f"{name}-own"), is_wanted=True)
        if known is not None and not is_wanted:
            raise InvalidRequest(f"there is a {name} that was not made here; choose another name with --name")
        self._check_is_free(name)
        return name

    def set_alias(self, alias: str, reference: str | None) -> None:
        """Let a name stand for a reference, or for nothing any more. Raises InvalidRequest, ModelNotFound."""
        with self.store.changing(f"write to {self.store.root}"):
            if reference is None:
                self.store.aliases.drop(alias)
                return
            if self.store.aliases.find(alias) is None:
                self._check_is_free(alias)
            target = parse(reference)
            if isinstance(target, NameReference) and self.store.aliases.find(target.name):
                raise InvalidRequest(f"{reference!r} is an alias itself; name what it stands for")
            if isinstance(target, NameReference | PathReference):
                self.find(reference)  # or it says which names are near
            if isinstance(target, PathReference):
                reference = str(Path(target.path).expanduser().absolute())  # the same from every folder
            self.store.aliases.put(alias, reference)

    def load(self, manifest: Manifest) -> LocalModel:
        """A stored model, ready to be loaded. Raises LoadFailed."""
        return from_manifest(manifest, self.store)

    def choose(self, pullable: Pullable) -> "Wanted":
        """What to fetch for it: asks the hub, unless a card says everything.

        A repository that a card knows brings the card's defaults. Raises ModelNotFound, DownloadFailed, NoRoom.
        """
        from localllm.models.choose import choose

        wanted = choose(pullable, self._hub(), available_memory_bytes())
        card = self.catalog.of_repository(pullable.repository) if isinstance(pullable, HubReference) else None
        return wanted if card is None else msgspec.structs.replace(wanted, defaults=card.localllm.defaults)

    def newer(self, manifest: Manifest) -> "Wanted | None":
        """The version that there is now, if it is another than the one in use.

        Raises InvalidRequest for a model that follows nothing, DownloadFailed, ModelNotFound.
        """
        from localllm.models.again import as_it_is_now

        return as_it_is_now(manifest, self.catalog, self._hub())

    def pull(
        self, wanted: "Wanted", on_progress: OnProgress, warn: Warn, distrust: Collection[Digest] = ()
    ) -> Manifest:
        """Bring it, whole and verified, and put it into use. Raises as `localllm.models.pull.pull` does."""
        from localllm.models.pull import PullOptions, pull
        from localllm.models.signing.policy import check_signing_setup
        from localllm.models.transfer.options import FetchOptions

        settings = self._settings
        key = Path(settings.signing_key).expanduser() if settings.signing_key else None
        check_signing_setup(settings.signatures, key)
        options = PullOptions(
            fetch=FetchOptions(connections=settings.connections, bytes_per_second=settings.download_limit or None),
            offline=settings.offline,
            signatures=settings.signatures,
            signing_key=key,
        )
        return pull(wanted, self.store, options, on_progress, warn, distrust)

    def repair(self, manifest: Manifest, check: "ModelCheck", on_progress: OnProgress, warn: Warn) -> Manifest:
        """Fetch the broken files of a model again, and nothing else. Raises LoadFailed where they came from here."""
        from localllm.models.again import as_it_was

        broken = [Digest(file.sha256) for file in check.broken]
        return self.pull(as_it_was(manifest, self.catalog), on_progress, warn, distrust=broken)

    def outlook(self, headers: "Sequence[GgufHeader]", size_bytes: int) -> "Outlook":
        """What to expect of a model here, with the context and the answers at once that the settings name."""
        from localllm.runtime.outlook import outlook_of

        return outlook_of(headers, size_bytes=size_bytes, context=self._settings.context, jobs=self._settings.parallel)

    def outlook_here(self, model: LocalModel) -> "Outlook | ProgramOutlook":
        """What to expect of a model on this disk. Raises LoadFailed."""
        from localllm.models.pte.header import read_program
        from localllm.runtime.outlook import headers_of

        if model.engine == "executorch":
            return self._program_outlook(read_program(Path(model.path)))
        return self.outlook(headers_of(model), model.size_bytes)

    def outlook_there(self, wanted: "Wanted") -> "Outlook | ProgramOutlook":
        """What to expect of a model of which only the header is fetched. Raises DownloadFailed, LoadFailed."""
        from localllm.runtime.outlook import header_on_hub, program_on_hub

        if wanted.format == "pte":
            return self._program_outlook(program_on_hub(wanted, offline=self._settings.offline))
        return self.outlook([header_on_hub(wanted, offline=self._settings.offline)], wanted.size_bytes)

    def missing_bytes(self, wanted: "Wanted") -> int:
        """What would have to be fetched, going by the sizes of what is here."""
        from localllm.models.known import KnownFiles

        known = KnownFiles(self.store, wanted.name)
        return sum(file.expected.size_bytes for file in wanted.files if known.lacks(file.expected))

    def read_repository(self, repository: str, revision: str | None) -> "HubRepository":
        """What the hub says of a repository. Raises ModelNotFound, DownloadFailed, also where offline."""
        from localllm.models.hub.repository import read_repository

        return read_repository(repository, revision, offline=self._settings.offline)

    def _program_outlook(self, facts: "ProgramFacts") -> "ProgramOutlook":
        from localllm.runtime.program_outlook import program_outlook

        return program_outlook(facts, context=self._settings.context, jobs=self._settings.parallel)

    def _hub(self) -> "Hub":
        from localllm.models.choose import Hub
        from localllm.models.small_file import read_small_file

        return Hub(
            read_repository=self.read_repository,
            read_file=lambda file: read_small_file(file, offline=self._settings.offline),
        )

    def _check_is_free(self, name: str) -> None:
        if not isinstance(parse(name), NameReference | HubReference):
            raise InvalidRequest(f"{name!r} would mean something else; choose another name")
        if self.catalog.find(name) is not None:
            raise InvalidRequest(f"{name} is the name of a known model; choose another name")
        if self.store.aliases.find(name) is not None:
            raise InvalidRequest(f"{name} is an alias; forget it first: localllm alias {name} --remove")
        if is_model_name(name) and self.store.versions.has(ModelName(name)):
            raise InvalidRequest(f"there is a {name} already; remove it first, or choose another name")
