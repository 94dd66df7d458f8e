"""Keeping what was made: the model, its importance matrix and its card become a version in the store."""

import shutil
from pathlib import Path

from localllm.models.files import disk_errors
from localllm.models.manifest import Manifest
from localllm.models.names import ModelName
from localllm.models.storage.blobs import hash_file
from localllm.models.storage.store import Store
from localllm.quantize.evaluation import Evaluation
from localllm.quantize.making import MadeFile, Making
from localllm.quantize.process.workbench import Workbench
from localllm.quantize.provenance.card import Made, card_of, outcome_of
from localllm.quantize.provenance.publish import MadeModel, publish
from localllm.quantize.provenance.recipe import (
    FileFacts,
    MadeFormat,
    Source,
    Tools,
    features_of,
    tools_here,
    tools_of_mlc,
    with_exporter,
)

CARD = "README.md"


def keep(made: MadeFile, making: Making, evaluation: Evaluation | None, name: ModelName, store: Store) -> Manifest:
    """Publish it under `name`. Raises NoRoom, ModelError."""
    material, bench = making.material, making.bench
    stem = name.replace("/", "-").replace(":", "-")
    filename = made.path.name if made.recipe.format == "mlc" else f"{stem}.{made.recipe.format}"
    files = {filename: made.path, **made.beside}
    if making.importance is not None:
        files[f"{stem}.imatrix"] = _copied(making.importance, bench.path("kept.imatrix"))
    digests = {filename: _facts(path) for filename, path in files.items()}
    card = card_of(
        Made(
            recipe=made.recipe,
            source=making_source(making),
            tools=native_tools(bench, made.recipe.format),
            outcome=outcome_of(made.quantized, digests),
            evaluation=evaluation,
        )
    )
    return publish(
        MadeModel(
            name=name,
            format=made.recipe.format,
            quant=made.type,
            license=material.license,
            of=material.reference,
            defaults=material.defaults,
            files={**files, CARD: bench.keep_text(CARD, card)},
        ),
        store,
        lambda _: None,
    )


def making_source(making: Making) -> Source:
    """What it was made from, for the card. Raises ModelError where that is gone."""
    material = making.material
    with disk_errors(f"read {material.reference}"):
        sizes = {filename: path.stat().st_size for filename, path in material.files.items()}
    return Source(
        reference=material.reference,
        name=str(material.name),
        format=material.format,
        files={
            filename: FileFacts(sha256=material.digests[filename], size_bytes=size_bytes)
            for filename, size_bytes in sizes.items()
        },
        revision=material.revision,
        license=material.license,
        base_model=material.base_model,
    )


def native_tools(bench: Workbench, format_: MadeFormat) -> Tools:
    """What a result of this format is made with. Raises EngineError."""
    if format_ == "mlc":
        return tools_of_mlc()
    tools = tools_here(llama_cpp=bench.build.commit, features=features_of(bench.build.system_info))
    return with_exporter(tools) if format_ == "pte" else tools


def _facts(path: Path) -> FileFacts:
    with disk_errors(f"read {path}"):
        return FileFacts(sha256=str(hash_file(path, lambda _: None)), size_bytes=path.stat().st_size)


def _copied(path: Path, place: Path) -> Path:
    with disk_errors(f"write {place}"):
        shutil.copyfile(path, place)
    return place
