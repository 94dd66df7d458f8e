"""The card of a quantized model: a README.md for people, with all that is needed to make the model again as data.

The front matter follows the hub's model card format (hub docs, "Model Cards": `base_model_relation: quantized`); what
only localllm reads stands under the key `localllm_quantize`. Measurements are no `model-index` there: that names data
sets of the hub, and these texts are none.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from localllm.config import silence_hub_telemetry
from localllm.engines.executorch.exporter.schemes import SCHEMES
from localllm.engines.mlc.quantizations import QUANTIZATIONS
from localllm.errors import InvalidRequest, ModelError
from localllm.models.front_matter import MOST_CHARACTERS, front_matter
from localllm.models.hub.naming import is_repository
from localllm.quantize.evaluation import Amount, Evaluation, rows, unmeasured
from localllm.quantize.provenance.recipe import (
    Count,
    FileFacts,
    MlcChoices,
    Recipe,
    Source,
    Tools,
    check_names,
    check_recipe,
)
from localllm.quantize.steps import Quantized
from localllm.units import size_words

KEY = "localllm_quantize"
VERSION = 1  # of what stands under the key
# What YAML cannot carry: lone surrogates (of names that are no Unicode), and NEL, which readers take for a newline.
_UNSPEAKABLE = re.compile("[\ud800-\udfff\x85]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+|~!&$@:^=])")
_NO_SLUG = re.compile(r"[^a-z0-9.+-]+")

# Identifiers that the hub accepts as `license` (hub docs, "Licenses", and the families of models since).
_LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl
    ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
"""


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came out."""

    files: Annotated[dict[str, FileFacts], Meta(min_length=1)]  # by name, weights first; not the card itself
    parameters: Count
    bits_per_weight: Amount
    tensor_types: dict[str, Count]  # how many tensors are of each
    fallbacks: Count = 0  # tensors whose rows do not fit the type


class Made(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quantized model and how it came about."""

    recipe: Recipe
    source: Source
    tools: Tools
    outcome: Outcome
    evaluation: Evaluation | None = None


def outcome_of(quantized: Quantized, files: Mapping[str, FileFacts]) -> Outcome:
    """What came out, from the step's result and the files' digests."""
    return Outcome(
        files=dict(files),
        parameters=quantized.parameters,
        bits_per_weight=quantized.bits_per_weight,
        tensor_types=dict(Counter(tensor.type for tensor in quantized.tensors).most_common()),
        fallbacks=quantized.fallbacks,
    )


def card_of(made: Made) -> str:
    """The text of the card; `read_made` finds `made` in it again. Nothing is asked of the hub.

    Texts are kept to the letter, but for lone surrogates and NEL, which are written as the escapes of Python.
    Raises InvalidRequest, naming the field, for what no card could be read back with, such as a divergence of NaN.
    """
    data = _speakable(msgspec.to_builtins(made))
    try:
        written = _made_of(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"cannot write the card: {_placed(error)}") from error
    return f"---\n{_front_of(written)}\n---\n\n{_body(written)}"


def read_made(text: str, origin: str) -> Made:
    """How a model was made, from its card. Raises ModelError, naming `origin` and the field at fault.

    Names in it are checked to stay in a folder, but they are for comparing, not for opening.
    """
    data = front_matter(text, origin).get(KEY)
    if not isinstance(data, dict):
        raise ModelError(
            f"{origin} does not say how its model was made: it has no {KEY}, which `localllm quantize` writes"
        )
    if data.get("version") != VERSION:
        raise ModelError(
            f"{origin}: {KEY}.version is {str(data.get('version'))[:20]!r}, this localllm reads {VERSION}; update it"
        )
    try:
        return _made_of({key: value for key, value in data.items() if key != "version"})
    except msgspec.ValidationError as error:
        raise ModelError(f"{origin}: {_placed(error)}") from error
    except InvalidRequest as error:
        raise ModelError(f"{origin}: {KEY}: {error.param}: {error.message}") from error


def read_made_file(path: Path) -> Made:
    """How a model was made, from its card's file. Raises ModelError."""
    try:
        if path.stat().st_size > 4 * MOST_CHARACTERS:  # bytes of UTF-8
            raise ModelError(f"{path} is too large for a model card")
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a name with a NUL
        raise ModelError(f"cannot read the model card {path}: {error}") from error
    return read_made(text, path.name)


def _front_of(made: Made) -> str:
    """The front matter as YAML."""
    silence_hub_telemetry()
    from huggingface_hub import ModelCardData  # noqa: PLC0415 - slow to import, and only cards need it

    license_, license_name = _license(made.source.license)
    base_model = made.source.base_model if is_repository(made.source.base_model) else None
    data = ModelCardData(
        license=license_,
        license_name=license_name,
        base_model=base_model,
        pipeline_tag="text-generation",
        tags=_tags(made.recipe),
    )
    if base_model:
        data["base_model_relation"] = "quantized"
    data[KEY] = {"version": VERSION, **msgspec.json.decode(msgspec.json.encode(made))}  # lists for tuples
    return data.to_yaml(line_break="\n")


def _tags(recipe: Recipe) -> list[str]:
    """Names of libraries and formats are the hub's (hub docs, "Libraries")."""
    kinds = {"gguf": "gguf", "pte": "executorch", "mlc": "mlc-llm"}
    return [kinds[recipe.format], "quantized", "localllm", *(["imatrix"] if _is_calibrated(recipe) else [])]


def _made_of(data: object) -> Made:
    """Raises ValidationError or InvalidRequest."""
    made = msgspec.convert(data, Made)
    check_recipe(made.recipe)
    check_names(made.source.files)
    check_names(made.outcome.files)
    return made


def _placed(error: msgspec.ValidationError) -> str:
    """The words of msgspec, with our key for the root of its path."""
    return str(error).replace("`$", f"`{KEY}")


def _speakable(value: object) -> object:
    """The same without what YAML cannot carry."""
    if isinstance(value, str):
        return _UNSPEAKABLE.sub(lambda match: ascii(match[0])[1:-1], value)
    if isinstance(value, dict):
        return {_speakable(key): _speakable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_speakable(item) for item in value]
    return value


def _license(name: str) -> tuple[str, str | None]:
    """`license` and `license_name`: an identifier of the hub, or `other` with a name of the kind that it accepts."""
    identifier = name.strip().lower() or "unknown"
    if identifier in _LICENSES.split():
        return identifier, None
    return "other", _NO_SLUG.sub("-", identifier).strip("-")[:64] or "unnamed"


def _body(made: Made) -> str:
    parts = [*_introduction(made), *_quality(made.evaluation), *_making(made), *_files(made)]
    return "\n\n".join(parts) + "\n"


def _introduction(made: Made) -> list[str]:
    recipe, source, outcome = made.recipe, made.source, made.outcome
    name = _escaped(recipe.name or source.name)
    before, after = (sum(file.size_bytes for file in files.values()) for files in (source.files, outcome.files))
    lines = [
        f"# {name}, {recipe.type}",
        f"This is {_link(source.base_model) or _escaped(source.name)} with its weights rounded to {recipe.type}: "
        f"{outcome.bits_per_weight:.2f} bits a weight, {size_words(after)} in place of {size_words(before)}. "
        "Nothing was trained.",
    ]
    if recipe.prune_layers:
        lines.append(f"These layers were removed: {', '.join(map(str, recipe.prune_layers))}.")
    if outcome.fallbacks:
        lines.append(
            f"The rows of {outcome.fallbacks} tensors do not fit the blocks of {recipe.type}; they were stored in "
            f"other types, most of them larger. Tensors by type: {_counts(outcome.tensor_types)}."
        )
    lines.append(f"License, as the source says: {_escaped(source.license) or 'not known'}.")
    return lines


def _quality(evaluation: Evaluation | None) -> list[str]:
    parts = ["## How good it is"]
    if evaluation is not None:
        cells = [(row.name, row.before, row.after, row.ratio) for row in rows(evaluation)]
        parts.append(_table(("", "Before", "After", "Ratio"), cells))
    if evaluation is not None and evaluation.text is not None:
        text = evaluation.text
        parts.append(
            f"Perplexity and divergence are of {text.positions} tokens of the text “{_escaped(text.name)}” "
            f"(SHA-256 {text.sha256}), in {text.chunks} chunks of {text.chunk_tokens} tokens. Divergence is "
            "Kullback-Leibler's, of the source from this model over the whole vocabulary, in nats: 0 would be the same "
            "model. After ± stands the standard error. Other texts give other figures, above all other languages and "
            "code."
        )
    if evaluation is not None and evaluation.bench is not None:
        bench = evaluation.bench
        parts.append(
            f"Speed and memory are of one stream on {_escaped(bench.processor) or 'an unknown processor'} with "
            f"{bench.threads} threads: {bench.prompt_tokens} tokens read, {bench.answer_tokens} written, medians of "
            f"{bench.repeats} runs. Other machines may put the two in another order."
        )
    missing = [*unmeasured(evaluation), "skill at any task", "long contexts", "whether it refuses what its source does"]
    parts.append(f"Not measured: {', '.join(missing)}.")
    return parts


def _making(made: Made) -> list[str]:
    recipe, source, tools = made.recipe, made.source, made.tools
    steps = [
        f"Taken: {_escaped(source.reference)}{f' at commit {_escaped(source.revision)}' if source.revision else ''}."
    ]
    if recipe.converted_type:
        precision = "the precision it has" if recipe.converted_type == "auto" else recipe.converted_type
        steps.append(f"Converted from a checkpoint to GGUF, in {precision}.")
    if recipe.calibration is not None:
        calibration = recipe.calibration
        steps.append(
            f"Calibrated: an importance matrix over {calibration.chunks} chunks of {calibration.chunk_tokens} tokens "
            f"of the text “{_escaped(calibration.text)}” (SHA-256 {calibration.text_sha256}), with "
            f"{calibration.threads} threads."
        )
    elif recipe.importance_sha256:
        steps.append(
            f"Calibrated: with an importance matrix that was there before (SHA-256 {recipe.importance_sha256})."
        )
    steps.append(_rounding(recipe))
    features = f" with {_escaped(', '.join(tools.features))}" if tools.features else ""
    return [
        "## How it was made",
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)),
        f"Made with {_tool_words(tools)}{features}. To make it again:",
        "```sh\nlocalllm quantize --from-card README.md\n```",
        "The front matter of this file has every choice and the digest of every file. Other versions and other "
        "processors may round some weights differently; whether the result is the same to the byte, its digest tells.",
    ]


def _rounding(recipe: Recipe) -> str:
    """The step that makes the result, in words."""
    if recipe.mlc is not None:
        return _rounding_for_mlc(recipe.type, recipe.mlc)
    if recipe.program is None:
        choices = _choices(recipe)
        return f"Quantized to {recipe.type}{f': {choices}' if choices else ''}."
    scheme = SCHEMES[recipe.type]
    source = " The source was quantized before." if recipe.allow_requantize else ""
    return (
        f"Exported to a program of ExecuTorch for {recipe.program.delegate}, {scheme.name}: {scheme.words}; with a "
        f"context of {recipe.program.context_tokens} tokens.{source}"
    )


def _rounding_for_mlc(type_: str, choices: MlcChoices) -> str:
    context = f" with a context of {choices.context_tokens} tokens" if choices.context_tokens else ""
    return f"Converted by MLC LLM to {type_}{context}: {QUANTIZATIONS[type_].words}."


def _tool_words(tools: Tools) -> str:
    """The versions that it was made with; of a program, what exports first."""
    said = {name: _escaped(version) for name, version in msgspec.structs.asdict(tools).items() if name != "features"}
    if tools.mlc_llm:
        return "localllm {localllm}, MLC LLM {mlc_llm}, Python {python} on {machine}".format(**said)
    exporters = "ExecuTorch {executorch}, PyTorch {torch}, torchao {torchao}, " if tools.executorch else ""
    words = (
        f"localllm {{localllm}}, {exporters}llama-cpp-python {{llama_cpp_python}} (llama.cpp {{llama_cpp}}), "
        "gguf {gguf}, numpy {numpy}, Python {python} on {machine}"
    )
    return words.format(**said)


def _choices(recipe: Recipe) -> str:
    """What was chosen beside the type, in words."""
    words = [f"tensors like “{_escaped(each.pattern)}” in {each.type}" for each in recipe.overrides]
    words += [f"the output in {recipe.output_type}"] if recipe.output_type else []
    words += [f"the embedding in {recipe.embedding_type}"] if recipe.embedding_type else []
    words += ["every tensor in this one type"] if recipe.is_pure else []
    words += ["from weights that were quantized before"] if recipe.allow_requantize else []
    words += ["without calibration"] if not _is_calibrated(recipe) else []
    return ", ".join(words)


def _is_calibrated(recipe: Recipe) -> bool:
    return recipe.calibration is not None or bool(recipe.importance_sha256)


def _files(made: Made) -> list[str]:
    cells = [
        (_escaped(name), role, str(file.size_bytes), file.sha256)
        for role, files in (("result", made.outcome.files), ("source", made.source.files))
        for name, file in files.items()
    ]
    return ["## Files", _table(("File", "", "Bytes", "SHA-256"), cells)]


def _table(headings: tuple[str, ...], cells: list[tuple[str, str, str, str]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_escaped(kind)} {count}" for kind, count in counts.items())


def _link(repository: str) -> str:
    return f"[{_escaped(repository)}](https://huggingface.co/{repository})" if is_repository(repository) else ""


def _escaped(text: str) -> str:
    """A stranger's text as one line of Markdown that means nothing but itself, in a table, too."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return _MARKDOWN.sub(r"\\\1", line)
