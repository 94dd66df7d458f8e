"""From what a request asks for to a grammar that masks tokens, with a memory of the last ones."""

import json
import threading
from collections import OrderedDict

from llguidance import LLMatcher, LLParserLimits

from localllm.engines.base import Tokenizer
from localllm.engines.job import TokenConstraint
from localllm.errors import InvalidRequest
from localllm.inference.constraints.lark import prepared
from localllm.inference.constraints.matcher import GrammarMatcher
from localllm.inference.constraints.patterns import MOST_REPEATED, repeated_length
from localllm.inference.constraints.refusals import PARAM, library_words
from localllm.inference.constraints.schema import enforceable
from localllm.inference.constraints.values import Json
from localllm.inference.constraints.vocabulary import Vocabulary
from localllm.types import Constraint

MOST_BYTES = 64 * 1024  # of a source
CACHED = 16  # compiled grammars; each holds at most about 20 MB of lexer states

# No whitespace between tokens of JSON, so that no model can write it for ever; and no \u escapes, with which a
# name could be written that the schema knows otherwise.
JSON_OPTIONS: dict[str, Json] = {"whitespace_flexible": False, "json_allowed_escapes": 'nrbtf\\"'}


class ConstraintCompiler:
    """Compiles constraints for one tokenizer, whose vocabulary is read at the first. Safe to use from any thread.

    llguidance works without the GIL; its limits and ours keep a hostile grammar around 0.2 s.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vocabulary: Vocabulary | None = None
        self._compiled: OrderedDict[Constraint, LLMatcher] = OrderedDict()  # at their beginning; the oldest first
        self._lock = threading.Lock()

    def compile(self, constraint: Constraint) -> TokenConstraint:
        """The grammar at its beginning, for one answer. Raises InvalidRequest, or UnsupportedField for a keyword."""
        with self._lock:
            first = self._compiled.get(constraint)
            if first is not None:
                self._compiled.move_to_end(constraint)
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(self._tokenizer)
            vocabulary = self._vocabulary
        if first is None:
            first = _compile(_grammar(constraint), vocabulary)
            with self._lock:
                self._compiled[constraint] = first
                while len(self._compiled) > CACHED:
                    self._compiled.popitem(last=False)
        # Copies share the states of the lexer found so far; when one fills them up, the next begins anew.
        return GrammarMatcher(first.deep_copy(), vocabulary, lambda: self._drop(constraint))

    def _drop(self, constraint: Constraint) -> None:
        with self._lock:
            self._compiled.pop(constraint, None)


def _grammar(constraint: Constraint) -> str:
    """The grammar in llguidance's own format (docs/syntax.md there: a JSON list of grammars)."""
    source = constraint.source
    if len(source) > MOST_BYTES or len(source.encode("utf-8", "replace")) > MOST_BYTES:
        raise InvalidRequest(f"the {constraint.kind} source is larger than {MOST_BYTES // 1024} KiB", param=PARAM)
    if any("\ud800" <= char <= "\udfff" for char in source):
        raise InvalidRequest(f"the {constraint.kind} source is not Unicode text: it has half a character", param=PARAM)
    match constraint.kind:
        case "json_object":
            return _list({"json_schema": {"type": "object", "x-guidance": JSON_OPTIONS}})
        case "json_schema":
            return _list({"json_schema": {**enforceable(source), "x-guidance": JSON_OPTIONS}})
        case "regex":
            if repeated_length(source) > MOST_REPEATED:
                raise InvalidRequest(
                    f"the regular expression's repeats demand more than {MOST_REPEATED} characters", param=PARAM
                )
            return LLMatcher.grammar_from_regex(source)
    return _list({"lark_grammar": prepared(source, JSON_OPTIONS)})


def _list(grammar: dict[str, Json]) -> str:
    return json.dumps({"grammars": [grammar]})


def _compile(grammar: str, vocabulary: Vocabulary) -> LLMatcher:
    limits = LLParserLimits(
        initial_lexer_fuel=300_000,
        step_lexer_fuel=100_000,
        step_max_items=50_000,
        max_lexer_states=10_000,
        max_grammar_size=50_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )
    matcher = LLMatcher(vocabulary.tree, grammar, log_level=0, limits=limits)
    if not matcher.is_error():
        probe = matcher.deep_copy()
        probe.compute_bitmask()  # a grammar that nothing satisfies fails here, not in the answer
        matcher = probe if probe.is_error() else matcher
    if matcher.is_error():
        raise InvalidRequest(f"cannot be enforced: {library_words(matcher.get_error())}", param=PARAM)
    return matcher
