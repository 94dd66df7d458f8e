"""Front matter: the YAML at the beginning of a model card (hub docs, "Model Cards"), whoever wrote it."""

import re

import yaml

from localllm.errors import ModelError

MOST_CHARACTERS = 2**20  # of a card that is read
_MOST_DEPTH = 32
_BLOCK = re.compile(r"\A\ufeff?---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # much faster, where PyYAML was built with libyaml


def front_matter(text: str, origin: str) -> dict[object, object]:
    """The front matter of a card, by keys. Raises ModelError, naming `origin`.

    Cards have no use for aliases, tags and deep nesting, with which a short text can take all memory (merge keys of
    merge keys) or end the process (libyaml's bindings recurse on the C stack); so they are refused before anything
    is built.
    """
    match = _BLOCK.match(text[: MOST_CHARACTERS + 1].replace("\r\n", "\n"))
    if match is None:
        raise ModelError(f"{origin}: a model card begins with YAML front matter between two lines of ---")
    try:
        _refuse_tricks(match[1], origin)
        values = yaml.load(match[1], _LOADER)  # noqa: S506 - both loaders are safe
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise ModelError(f"{origin}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{origin}: the front matter of a model card consists of keys and values")
    return values


def _refuse_tricks(block: str, origin: str) -> None:
    depth = 0
    for event in yaml.parse(block, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH or isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            line = event.start_mark.line + 2 if event.start_mark else 2  # counted from 0, and after the first ---
            raise ModelError(f"{origin}: line {line}: aliases, tags and deep nesting have no place in a model card")
