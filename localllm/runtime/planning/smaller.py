"""The same model in fewer bits, among those of the store."""

from collections.abc import Sequence
from pathlib import Path

from localllm.errors import ModelError
from localllm.models.gguf.facts import ModelFacts, facts_of
from localllm.models.gguf.header import read_header
from localllm.models.local import LocalModel
from localllm.models.on_disk import from_manifest
from localllm.models.storage.store import Store


def smaller_quants(model: LocalModel, store: Store) -> list[LocalModel]:
    """GGUF models of the store whose weights are the same numbers as `model`'s in fewer bytes, the largest first.

    The same are those of one architecture, shape, number of parameters and name (`general.name`). A model that cannot
    be read is none of them.
    """
    wanted = _facts(model)
    if wanted is None:
        return []
    found = [
        (facts.weights_bytes, other)
        for manifest in store.survey().manifests
        if manifest.format == "gguf"
        and (other := _loaded(manifest.name, store)) is not None
        and (facts := _facts(other)) is not None
        and facts.weights_bytes < wanted.weights_bytes
        and _sameness(facts) == _sameness(wanted)
    ]
    return [other for _, other in sorted(found, key=lambda pair: -pair[0])]


def _sameness(facts: ModelFacts) -> Sequence[object]:
    return (
        facts.architecture,
        facts.name,
        facts.parameters,
        facts.layers,
        facts.embedding_width,
        facts.vocabulary,
    )


def _loaded(name: str, store: Store) -> LocalModel | None:
    try:
        manifest = store.current(name)
        return from_manifest(manifest, store) if manifest is not None else None
    except ModelError:
        return None


def _facts(model: LocalModel) -> ModelFacts | None:
    try:
        return facts_of([read_header(Path(path)) for path in model.parts or (model.path,)])
    except (ModelError, OSError):
        return None
