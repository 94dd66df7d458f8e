"""What a reference means here: a model on this disk, or one that could be pulled."""

import difflib
import re
from collections.abc import Iterable

from msgspec import Struct

from localllm.errors import IntegrityError, LoadFailed, ModelNotFound
from localllm.models.card import HubSource, ModelCard
from localllm.models.catalog import Catalog
from localllm.models.digest import is_plain
from localllm.models.local import LocalModel
from localllm.models.manifest import Head, Manifest
from localllm.models.names import ModelName, is_model_name
from localllm.models.on_disk import check_in_place, from_manifest, from_path
from localllm.models.quant import canonical_quant, quant_of, split_of
from localllm.models.reference import EchoReference, HubReference, NameReference, PathReference, Reference, parse
from localllm.models.storage.store import Store
from localllm.types import ModelDefaults

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_CHARACTERS = 80  # of a part of a name that is made here; the longest repository and one such make a name
_COMPARED_CHARACTERS = 200


class CardWanted(Struct, frozen=True, kw_only=True):
    """A card's model that is not on this disk."""

    card: ModelCard
    quant: str | None  # None: whichever fits this machine best

    @property
    def name(self) -> str:
        """What it will be called in the store."""
        return self.card.name if self.quant is None else f"{self.card.name}-{self.quant.lower()}"


Pullable = CardWanted | HubReference


def resolve(text: str, store: Store, catalog: Catalog) -> LocalModel | Pullable:
    """The model on this disk that `text` means, or what could be pulled.

    Raises ModelNotFound with the nearest names, LoadFailed for a file that no engine can load or that is not what it
    was, IntegrityError for a damaged manifest.
    """
    found = find(text, store, catalog)
    return from_manifest(found, store) if isinstance(found, Manifest) else found


def find(text: str, store: Store, catalog: Catalog) -> Manifest | LocalModel | Pullable:
    """As `resolve`, with a stored model as its manifest."""
    alias = _aliased(text, store)
    if alias is None:
        return _find(parse(text), store, catalog)
    try:
        return _find(parse(alias), store, catalog)
    except ModelNotFound as error:
        raise ModelNotFound(f"the alias {text!r} leads nowhere: {error.message}", param="model") from error


def stored_name(text: str, store: Store, catalog: Catalog) -> str:
    """The name of the stored model that `text` means, also where some of its files are missing or damaged.

    Raises ModelNotFound with the nearest names.
    """
    reference = parse(_aliased(text, store) or text)
    name = None
    if isinstance(reference, NameReference):
        name = _stored_as(reference.name, _card(reference.name, catalog), store)
    elif isinstance(reference, HubReference):
        name = _stored_of(reference, store)
    if name is None:
        near = _near(text, _names(store))
        hint = f"did you mean {' or '.join(near)}? See" if near else "see"
        raise ModelNotFound(f"there is no model {text[:200]!r} on this disk; {hint}: localllm list", param="model")
    return name


def hub_tag(reference: HubReference) -> str | None:
    """The tag that a stored model of the hub gets, as far as the reference says."""
    if reference.path is not None:
        return tag_of(reference.path)
    return reference.quant and (canonical_quant(reference.quant) or name_part(reference.quant))


def tag_of(path: str) -> str:
    """The tag of a model that is one file of a repository, or a part of it: what tells it from the others there."""
    filename = path.rpartition("/")[2]
    split = split_of(filename)
    stem = split.stem if split is not None else filename.rpartition(".")[0]
    return quant_of(path) or name_part(stem)


def name_part(text: str) -> str:
    """The nearest text that may be a part of any model's name."""
    part = _UNFIT.sub("-", text).strip("-._")[:_MOST_CHARACTERS].rstrip("-._")
    return part if is_plain(part) else f"model-{part}".rstrip("-")


def _aliased(text: str, store: Store) -> str | None:
    """What it stands for, if it is an alias: only what could be a name is looked up."""
    return store.aliases.find(text) if isinstance(parse(text), NameReference) else None


def _find(reference: Reference, store: Store, catalog: Catalog) -> Manifest | LocalModel | Pullable:
    match reference:
        case EchoReference(text=echo):
            return _echo(echo)
        case PathReference(path=path):
            return from_path(path)
        case HubReference():
            return _of_hub(reference, store) or reference
        case NameReference(name=name):
            return _named(name, store, catalog)


def _echo(text: str) -> LocalModel:
    rate = text.partition(":")[2]
    return LocalModel(id=text, engine="echo", path=rate, created=0, size_bytes=0, defaults=ModelDefaults())


def _named(name: str, store: Store, catalog: Catalog) -> Manifest | CardWanted:
    wanted = _card(name, catalog)
    stored = _stored_as(name, wanted, store)
    manifest = store.current(stored) if stored is not None else None
    if manifest is not None and _is_here(manifest, store):
        return manifest
    if stored is not None and (wanted is None or stored not in {wanted.name, wanted.card.name}):
        raise LoadFailed(f"{stored} is on this disk, but not all of its files; mend it with: localllm repair {stored}")
    if wanted is not None:
        return wanted
    raise ModelNotFound(_miss(name, store, catalog), param="model")


def _card(name: str, catalog: Catalog) -> CardWanted | None:
    match = catalog.find(name)
    return None if match is None else CardWanted(card=match.card, quant=match.quant)


def _stored_as(name: str, wanted: CardWanted | None, store: Store) -> str | None:
    """The stored model that is called `name`, whatever its state: to the letter, as the card's model that it means, or
    as the only one of its family. Raises ModelNotFound where it could be several."""
    exact = _stored(name, store)
    if exact is not None:
        return exact
    if wanted is None:
        return None if ":" in name else _only_one(name, _family(name, store))
    stored = _stored(wanted.name, store)
    if stored is not None or wanted.quant is None:
        return stored
    manifest = store.current(wanted.card.name)  # the quant that was chosen for this machine may be the one
    return manifest.name if manifest is not None and manifest.quant == wanted.quant else None


def _stored(name: str, store: Store) -> str | None:
    """As the store spells it, if there is such a model."""
    if not is_model_name(name) or not store.versions.has(ModelName(name)):
        return None
    try:
        head = store.versions.head(ModelName(name))
    except IntegrityError:
        return name
    return head.name if head is not None else None


def _of_hub(reference: HubReference, store: Store) -> Manifest | None:
    name = _stored_of(reference, store)
    manifest = store.current(name) if name is not None else None
    return manifest if manifest is not None and _is_here(manifest, store) else None


def _stored_of(reference: HubReference, store: Store) -> str | None:
    """The stored model that a reference to the hub means. Raises ModelNotFound where it could be several."""
    tag = hub_tag(reference)
    if tag is None:
        names = _family(reference.repository, store)
    else:
        stored = _stored(f"{reference.repository}:{tag}", store)
        names = [] if stored is None else [stored]
    if reference.revision is not None or reference.path is not None:
        names = [name for name in names if _is_of(store.current(name), reference)]
    return _only_one(reference.repository, names)


def _only_one(wanted: str, names: list[str]) -> str | None:
    if len(names) > 1:
        raise ModelNotFound(f"{wanted!r} could be any of {', '.join(names)}; say which", param="model")
    return names[0] if names else None


def _family(family: str, store: Store) -> list[str]:
    """The stored models whose names differ in the tag alone."""
    return [name for name in _names(store) if ModelName(name).family.lower() == family.lower()]


def _names(store: Store) -> list[str]:
    return [head.name for head in store.versions.heads() if isinstance(head, Head)]


def _is_here(manifest: Manifest, store: Store) -> bool:
    """Whether all its files are. Raises LoadFailed for one that is used in place and is not what it was: pulling the
    model would put another in the place of the user's own."""
    check_in_place(manifest)
    return store.is_whole(manifest)


def _is_of(manifest: Manifest | None, reference: HubReference) -> bool:
    """Whether a model came from that revision, and that file is a part of it."""
    if manifest is None:
        return False
    origins = [file.origin for file in manifest.files if isinstance(file.origin, HubSource)]
    return _is_at(manifest.follows, origins, reference.revision) and _has(manifest, origins, reference.path)


def _is_at(follows: str, origins: list[HubSource], revision: str | None) -> bool:
    """Of a branch, whatever came from it last."""
    if revision is None or revision == follows:
        return True
    commit = revision.lower()
    return _COMMIT.fullmatch(commit) is not None and any(origin.revision.startswith(commit) for origin in origins)


def _has(manifest: Manifest, origins: list[HubSource], path: str | None) -> bool:
    """Of what was found in another program's folder, only the file's name is known."""
    if path is None:
        return True
    if origins:
        return path in {origin.filename for origin in origins}
    return path.rpartition("/")[2] in {file.filename for file in manifest.files}


def _miss(name: str, store: Store, catalog: Catalog) -> str:
    family = catalog.ambiguous(name)
    if family:
        return f"{name!r} could be any of {', '.join(family)}; say which"
    near = list(dict.fromkeys([*_near(name, [*_names(store), *store.aliases.all()]), *catalog.nearest(name)]))[:3]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see: localllm list --all"
    return f"no model is called {name[:200]!r}{hint}"


def _near(text: str, names: Iterable[str]) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text[:_COMPARED_CHARACTERS].lower(), by_lower, n=3, cutoff=0.5)
    return [by_lower[name] for name in found]
