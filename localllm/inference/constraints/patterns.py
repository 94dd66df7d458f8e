"""Regular expressions before llguidance sees them: how large their repeats are, and what would mean something else."""

import re

MOST_REPEATED = 20_000  # characters that fixed repeats may demand; llguidance works all of them out at once

_REPEAT = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ECMA_CLASS = re.compile(r"\[\^?([^\]]*)\]")
_OPERATORS = re.compile(r"&&|--|~~|\[")
_ESCAPE = re.compile(r"\\(?:[pPxuU]\{[^}]*\}|.)", re.DOTALL)


def repeated_length(pattern: str) -> int:
    """An upper bound for the length of the shortest match: `(a{30}){20}` is 600."""
    totals = [0]
    last = at = 0
    while at < len(pattern):
        here = pattern[at]
        repeat = _REPEAT.match(pattern, at) if here == "{" else None
        if repeat:
            totals[-1] += last * (max(int(repeat[1][:9]), 1) - 1)
            last *= max(int(repeat[1][:9]), 1)
            at = repeat.end()
            continue
        if here == "(":
            totals.append(0)
        elif here == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        else:
            last = 1
            totals[-1] += 1
        token = _ESCAPE.match(pattern, at) if here == "\\" else _CLASS.match(pattern, at) if here == "[" else None
        at = token.end() if token else at + 1
    return sum(totals)


def foreign_class(pattern: str) -> str | None:
    """A character class that ECMA-262, the language of JSON Schema, reads otherwise than llguidance; None: none."""
    bare = re.sub(r"\\.", "e", pattern, flags=re.DOTALL)
    return next((found[0] for found in _ECMA_CLASS.finditer(bare) if not found[1] or _OPERATORS.search(found[1])), None)
