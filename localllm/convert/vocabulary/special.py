"""Which tokens begin and end texts, and whether they are put there without being asked for."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from localllm.convert.config import Config
from localllm.convert.json_object import AGAIN
from localllm.convert.vocabulary.files import TokenizerFiles
from localllm.convert.vocabulary.pieces import BYTE_PAIRS, Pieces
from localllm.convert.vocabulary.settings import Settings
from localllm.convert.vocabulary.tokenizer_json import NAME as JSON_NAME
from localllm.convert.vocabulary.tokenizer_json import TokenizerJson, flat
from localllm.convert.vocabulary.tokens import NORMAL
from localllm.errors import LoadFailed

GENERATION_NAME = "generation_config.json"

# As transformers calls them, and as GGUF does (which has always spelled the separator so).
_KINDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding", "mask": "mask"}
_NEEDED = ("bos", "eos")

# Where a turn ends, by text, likeliest first; and texts that llama.cpp stops at by itself (llama-vocab.cpp).
_TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|end_of_turn|>", "<EOT>", "[EOT]")
_MESSAGE_END = "<|eom_id|>"
_OTHER_ENDS = {_MESSAGE_END, "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]"}
_KNOWN_ENDS = frozenset({*_TURN_ENDS, *_OTHER_ENDS} - {"<|end_of_turn|>"})


class GenerationConfig(Struct, frozen=True, kw_only=True):
    """generation_config.json: ids that transformers.generate() goes by."""

    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | list[int] | None = None


class SpecialTokens(Struct, frozen=True):
    """Ids and flags as Vocabulary has them."""

    ids: dict[str, int]
    flags: dict[str, bool]


class _Ids:
    """The ids that config.json and generation_config.json give to a kind of token. A negative one means none."""

    def __init__(self, config: Config, generation: GenerationConfig, size: int) -> None:
        self._config = config
        self._generation = generation
        self._size = size

    def of(self, kind: str) -> list[int]:
        """Those of the embedding. Raises LoadFailed for others of a kind that is needed; the rest do without."""
        found = [
            *(("config.json", place) for place in self._in_config(f"{kind}_token_id")),
            *((GENERATION_NAME, place) for place in self._in_generation(f"{kind}_token_id")),
        ]
        for file, place in found:
            if place >= self._size and kind in _NEEDED:
                raise LoadFailed(
                    f"{file}: {kind}_token_id is {place}, and the embedding has {self._size} rows; {AGAIN}"
                )
        return [place for _, place in found if 0 <= place < self._size]

    def _in_config(self, key: str) -> Iterator[int]:
        if not self._config.has(key):
            return
        try:
            values = [self._config.number(key)]
        except LoadFailed:
            values = self._config.numbers(key)
        for value in values:
            if not value.is_integer():
                raise LoadFailed(f"config.json: {key} is {value}, not a token's id; {AGAIN}")
            yield int(value)

    def _in_generation(self, key: str) -> list[int]:
        values = getattr(self._generation, key, None)
        return values if isinstance(values, list) else [] if values is None else [values]


def read_special_tokens(
    files: TokenizerFiles, settings: Settings, config: Config, document: TokenizerJson | None, pieces: Pieces
) -> SpecialTokens:
    """Ids by text from the tokenizer's settings, else by number from the model's, else from the tokenizer itself.

    Raises LoadFailed for ids that are none, and where no token ends a text: llama.cpp would take token 11 or 2.
    """
    generation = files.document(GENERATION_NAME, GenerationConfig) or GenerationConfig()
    numbered = _Ids(config, generation, len(pieces.tokens))
    ids: dict[str, int] = {}
    for kind, name in _KINDS.items():
        by_text = [pieces.ids[text] for text in settings.texts(kind) if text in pieces.ids]
        own = [pieces.roles[kind]] if kind in pieces.roles else []
        if places := [*by_text, *numbered.of(kind), *own]:
            ids[name] = places[0]
    if "eos" not in ids:
        raise LoadFailed("no file says which token ends a text (eos_token); get the tokenizer's files again")
    ids |= _other_ends(ids["eos"], numbered.of("eos"), pieces)
    flags = _flags(settings, document, pieces, ids)
    ids.setdefault("bos", ids["eos"])  # without one, llama.cpp would take token 11 or 1
    return SpecialTokens(ids, flags)


def _other_ends(eos: int, ends: list[int], pieces: Pieces) -> dict[str, int]:
    """Where a turn (eot) and where a message to a tool (eom) ends, if not where the text does."""
    texts = {text: pieces.ids[text] for text in (*_TURN_ENDS, _MESSAGE_END) if text in pieces.ids}
    by_text = [place for text, place in texts.items() if text != _MESSAGE_END and pieces.types[place] != NORMAL]
    known = {pieces.ids[text] for text in _KNOWN_ENDS if text in pieces.ids}
    unknown = [place for place in dict.fromkeys(ends) if place != eos and place not in known]
    found: dict[str, int] = {}
    if by_text and by_text[0] != eos:
        found["eot"] = by_text[0]
    elif unknown:
        found["eot"] = unknown.pop(0)
    if _MESSAGE_END in texts and texts[_MESSAGE_END] != eos:
        found["eom"] = texts[_MESSAGE_END]
    elif unknown:
        found["eom"] = unknown.pop(0)
    return found


def _flags(
    settings: Settings, document: TokenizerJson | None, pieces: Pieces, ids: Mapping[str, int]
) -> dict[str, bool]:
    """Always said: what llama.cpp does unsaid depends on the kind of vocabulary and the pre-tokenizer."""
    first, last = _template_ends(document)
    has_own_say = document is not None and document.post_processor is not None
    by_default = pieces.model != BYTE_PAIRS and not has_own_say  # LlamaTokenizer, GemmaTokenizer
    bos, eos = settings.config.add_bos_token, settings.config.add_eos_token
    if bos is None:
        bos = by_default or (first is not None and pieces.ids.get(first) == ids.get("bos"))
    if eos is None:
        eos = last is not None and pieces.ids.get(last) == ids["eos"]
    flags = {"add_bos_token": bos and "bos" in ids, "add_eos_token": eos}
    if pieces.model == BYTE_PAIRS:
        return flags
    prefix = settings.config.add_prefix_space
    return flags | {"add_space_prefix": pieces.add_space_prefix if prefix is None else prefix}


def _template_ends(document: TokenizerJson | None) -> tuple[str | None, str | None]:
    """The tokens that tokenizer.json puts before and behind a text (TemplateProcessing)."""
    for step in flat(document.post_processor if document else None, inner="processors"):
        if step.get("type") != "TemplateProcessing":
            continue
        single = step.get("single")
        if not isinstance(single, list) or not single:
            raise LoadFailed(f"{JSON_NAME}: post_processor has no template; {AGAIN}")
        return _special(single[0]), _special(single[-1])
    return None, None


def _special(item: object) -> str | None:
    token = item.get("SpecialToken") if isinstance(item, dict) else None
    text = token.get("id") if isinstance(token, dict) else None
    return text if isinstance(text, str) else None
