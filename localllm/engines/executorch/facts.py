"""What a program is for: its inputs and outputs, and the numbers that its exporter wrote beside it.

Those numbers are methods without inputs, such as `get_max_context_len` (ExecuTorch's extension/llm/runner/constants.h).
Anybody can have written them, so they count as far as the shapes of `forward` agree.
"""

from pathlib import Path

from msgspec import Struct

from localllm.engines.executorch.native import NATIVE_ERRORS, MethodMeta, NativeProgram, TensorMeta
from localllm.errors import LoadFailed

FORWARD = "forward"
_INTEGER_TYPES = {3: "int32", 4: "int64"}  # numbers of ScalarType, and what numpy calls them
_LOGIT_TYPES = {5: "float16", 6: "float32", 15: "bfloat16"}
_MOST_CONTEXT = 1 << 24
_MOST_END_TOKENS = 1000


class ProgramFacts(Struct, frozen=True, kw_only=True):
    """How `forward` is to be called, and what its tokens mean."""

    vocab_size: int
    context_tokens: int  # its KV cache holds so many
    most_tokens: int  # of one call
    token_type: str  # int32 or int64
    position_type: str
    takes_all_positions: bool  # one for each token; else only that of the first
    end_tokens: tuple[int, ...] = ()
    bos_token: int | None = None


def read_facts(program: NativeProgram, path: Path) -> ProgramFacts:
    """Raises LoadFailed for a program that is no language model, or one that cannot be run a token at a time."""
    names = {program.get_method_name(i) for i in range(program.num_methods())}
    if FORWARD not in names:
        raise LoadFailed(f"{path} has no method {FORWARD}, only {_listed(names)}; it is no language model")
    try:
        meta = program.method_meta(FORWARD)
        return _facts(meta, _Metadata(program, names))
    except _UnfitError as error:
        raise LoadFailed(f"{path} {error}") from error
    except NATIVE_ERRORS as error:
        raise LoadFailed(f"{path} does not say what {FORWARD} takes and gives: {error}") from error


class _UnfitError(Exception):
    """The end of a sentence that begins with the program."""


class _Metadata:
    """The methods that are numbers. One that is missing, fails or gives something else is as if it were not there."""

    def __init__(self, program: NativeProgram, names: set[str]) -> None:
        self._program = program
        self._names = names

    def numbers(self, name: str) -> list[int]:
        """What a method gives, so far as it is whole numbers."""
        if name not in self._names:
            return []
        try:
            if self._program.method_meta(name).num_inputs():
                return []
            values = self._program.load_method(name)([])
        except NATIVE_ERRORS:
            return []
        flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
        return [int(value) for value in flat if isinstance(value, int)]

    def number(self, *names: str) -> int | None:
        """The first of these that there is."""
        return next((found[0] for name in names if (found := self.numbers(name))), None)


def _facts(meta: MethodMeta, metadata: _Metadata) -> ProgramFacts:
    if metadata.number("use_kv_cache") == 0 or meta.num_inputs() < 2:
        raise _UnfitError("keeps no KV cache, so each token would cost as much as the whole text; export it with one")
    if meta.num_inputs() > 2:
        raise _UnfitError(
            f"takes {meta.num_inputs()} inputs, not tokens and their position alone; export it as a text model"
        )
    tokens, positions = meta.input_tensor_meta(0), meta.input_tensor_meta(1)
    shape, places = tokens.sizes(), positions.sizes()
    if len(shape) != 2 or shape[0] != 1 or shape[1] < 1 or len(places) != 1 or places[0] not in {1, shape[1]}:
        raise _UnfitError(f"takes inputs of shape {list(shape)} and {list(places)}, not [1, tokens] and [1]")
    token_type, position_type = _integer_type(tokens), _integer_type(positions)
    vocab_size = _vocab_size(meta, metadata)
    context = _context_tokens(metadata, shape[1])
    is_dynamic = metadata.number("enable_dynamic_shape") != 0
    ends = dict.fromkeys([*metadata.numbers("get_eos_ids"), *metadata.numbers("get_eos_id")])
    bos = metadata.number("get_bos_id")
    return ProgramFacts(
        vocab_size=vocab_size,
        context_tokens=context,
        most_tokens=min(shape[1], context) if is_dynamic else 1,
        token_type=token_type,
        position_type=position_type,
        takes_all_positions=places[0] > 1,
        end_tokens=tuple(token for token in ends if 0 <= token < vocab_size)[:_MOST_END_TOKENS],
        bos_token=bos if bos is not None and 0 <= bos < vocab_size else None,
    )


def _vocab_size(meta: MethodMeta, metadata: _Metadata) -> int:
    """As many logits as there are of a token."""
    output = meta.output_tensor_meta(0) if meta.num_outputs() else None
    sizes = output.sizes() if output else ()
    if output is None or output.dtype() not in _LOGIT_TYPES or len(sizes) not in {2, 3} or sizes[0] != 1:
        raise _UnfitError(f"gives no logits of shape [1, vocabulary] but {output}; it is no language model")
    said = metadata.number("get_vocab_size")
    if said not in {None, sizes[-1]} or sizes[-1] < 2:
        raise _UnfitError(f"gives {sizes[-1]} logits and says that it knows {said} tokens; export it again")
    return sizes[-1]


def _context_tokens(metadata: _Metadata, most_tokens: int) -> int:
    """What its KV cache holds. Where nobody says, a call can hold no more than the cache."""
    context = metadata.number("get_max_context_len", "get_max_seq_len")
    if context is None and most_tokens > 1:
        context = most_tokens
    if context is None:
        raise _UnfitError("does not say how many tokens its context holds; export it with get_max_context_len")
    if not 2 <= context <= _MOST_CONTEXT:
        raise _UnfitError(f"says that its context holds {context} tokens; export it again")
    return context


def _integer_type(meta: TensorMeta) -> str:
    kind = _INTEGER_TYPES.get(meta.dtype())
    if kind is None:
        raise _UnfitError(f"takes tokens or positions as {meta}, not as whole numbers; it is no language model")
    return kind


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5])[:200] or "none"
