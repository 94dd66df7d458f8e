"""What llama.cpp's quantizer says of each tensor, which it says in its log alone (src/llama-quant.cpp).

Of each tensor, in the order of the file, a piece before it begins, and a piece with what comes of it:

    [   7/ 272] blk.0.attn_v.weight                  - [  576,   192,     1,     1], type =    f16,
    size =     0.21 MiB ->     0.07 MiB (q5_0)

The type stands behind the size in dry runs only. Before all of them, where rows do not fit a type, three pieces:

    warning: blk.0.attn_v.weight                  - ncols    576 not divisible by 256 (required for type    q4_K)
    (WARNING: must use F16 due to unusual shape)
    -> falling back to    q5_0
"""

import re
from collections.abc import Callable

from msgspec import Struct

_BEGIN = re.compile(r"\[ *(\d+)/ *\d+\] (.*) - \[[ \d,]*\], type = *(\w+), ", re.DOTALL)
_END = re.compile(r"size = *[\d.]+ MiB(?: -> *[\d.]+ MiB(?: \((\w+)\))?)?\n")
_FALLBACK = re.compile(r"warning: (.*) - ncols +\d+ not divisible by +\d+ \(required for type *(\w+)\) ", re.DOTALL)
_ERROR, _CONTINUED = 4, 5  # of ggml_log_level
_FRAME = re.compile(r"llama_model_quantize: failed to quantize: |\w+: |=+")  # around its words

OnTensor = Callable[[int, str], None]


class PlannedTensor(Struct, frozen=True, kw_only=True):
    """What a tensor is, and what a dry run says it would become. Types are spelt as in TENSOR_TYPES."""

    name: str  # in the new file
    source_type: str
    type: str
    fallback_from: str = ""  # the type whose blocks its rows are no multiple of


class QuantizerLog:
    """A listener to the log of one run. `on_tensor` hears the number, from 1 on, and name of each that begins."""

    def __init__(self, on_tensor: OnTensor | None = None) -> None:
        self._on_tensor = on_tensor
        self._begun: tuple[str, str] | None = None  # name and type
        self._needed: dict[str, str] = {}  # by name as printed, the type that does not fit
        self._planned: list[PlannedTensor] = []
        self._errors: list[str] = []
        self._level = 0

    def hear(self, level: int, text: str) -> None:
        """A line of the log, or a piece."""
        self._level = self._level if level == _CONTINUED else level
        if self._level == _ERROR:
            self._errors.append(text)
        elif begin := _BEGIN.fullmatch(text):
            self._begin(int(begin[1]), begin[2].rstrip(" "), begin[3].upper())
        elif (end := _END.fullmatch(text)) and self._begun is not None:
            self._end(end[1])
        elif fallback := _FALLBACK.fullmatch(text):
            self._needed[fallback[1].rstrip(" ")] = fallback[2].upper()

    @property
    def planned(self) -> tuple[PlannedTensor, ...]:
        """All tensors, after a dry run."""
        return tuple(self._planned)

    @property
    def errors(self) -> str:
        """Its words about what went wrong, on one line."""
        lines = (_FRAME.sub("", line, count=1).strip() for line in "".join(self._errors).splitlines())
        return "; ".join(dict.fromkeys(filter(None, lines)))[-600:]

    def _begin(self, number: int, name: str, kind: str) -> None:
        self._begun = (name, kind)
        if self._on_tensor is not None:
            self._on_tensor(number, name)

    def _end(self, new_type: str | None) -> None:
        if self._begun is None:
            return
        (name, kind), self._begun = self._begun, None
        self._planned.append(
            PlannedTensor(
                name=name,
                source_type=kind,
                type=new_type.upper() if new_type else kind,
                fallback_from=self._needed.get(name, ""),
            )
        )
