"""Types for tensors by patterns of their names, as llama.cpp's quantizer takes them.

It searches them with C++'s std::regex (ECMAScript). Only what Python reads alike is taken, so that what will match is
known beforehand. Where layers are left out, it is the new names that match.
"""

import re
from collections.abc import Iterable, Sequence

from localllm.engines.llama_cpp.quantizer.log import PlannedTensor
from localllm.engines.llama_cpp.quantizer.order import Override
from localllm.errors import InvalidRequest
from localllm.models.gguf.tensor_types import TENSOR_TYPES
from localllm.models.reference import shown

MOST_CHARACTERS = 256
_PLAIN = r"[A-Za-z0-9_.,:/ -]"
_ESCAPE = r"\\[dDwWsS.\\\[\](){}*+?^$|/-]"
_CLASS = rf"\[\^?(?:(?!--)(?:{_ESCAPE}|{_PLAIN}))+\]"
_REPEAT = r"(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})\??"
_COMMON = re.compile(rf"(?:(?:{_PLAIN}|{_ESCAPE}|{_CLASS}|\))(?:{_REPEAT})?|[|^$]|\\[bB]|\((?:\?[:=!])?)+")
_PARAM = "overrides"


def check_patterns(overrides: Iterable[Override]) -> None:
    """Raises InvalidRequest for what is no regular expression, or one that the two languages read differently."""
    for override in overrides:
        if len(override.pattern) > MOST_CHARACTERS:
            raise _wrong(override, f"is longer than {MOST_CHARACTERS} characters")
        if not _COMMON.fullmatch(override.pattern):
            raise _wrong(
                override, r"is more than letters, digits, . [] () | ^ $ * + ? {} \d \w \s \b, and \ before them"
            )
        try:
            re.compile(override.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise _wrong(override, f"is no regular expression: {error}") from error


def check_effect(overrides: Sequence[Override], planned: Sequence[PlannedTensor]) -> None:
    """Raises InvalidRequest, naming it, for a pattern that no tensor has got its type from."""
    left = {tensor.name: tensor for tensor in planned}
    for override in overrides:
        pattern = re.compile(override.pattern, re.ASCII)
        matching = [tensor for name, tensor in left.items() if pattern.search(name)]
        if not matching:
            taken = any(pattern.search(tensor.name) for tensor in planned)
            raise _wrong(override, "matches only what those before it match" if taken else "matches no tensor")
        wanted = TENSOR_TYPES[override.type].name
        if not any(wanted in (tensor.type, tensor.fallback_from) for tensor in matching):
            kept = matching[0]
            raise _wrong(override, f"changes nothing: {shown(kept.name)} is {kept.type} whatever is asked")
        left = {name: tensor for name, tensor in left.items() if not pattern.search(name)}


def is_matched(overrides: Iterable[Override], name: str) -> bool:
    """Whether one of them is about a tensor."""
    return any(re.search(override.pattern, name, re.ASCII) for override in overrides)


def _wrong(override: Override, why: str) -> InvalidRequest:
    return InvalidRequest(f"the pattern {shown(repr(override.pattern), 80)} {why}", param=_PARAM)
