"""Which tokens begin and end texts and answers, from the files beside a model; and the chat template."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from localllm.engines.executorch.hub_files import AGAIN, HubFiles
from localllm.engines.executorch.tokenizer_json import NAME, Step, TokenizerJson
from localllm.errors import LoadFailed
from localllm.models.control_tokens import ends_among
from localllm.models.gguf.metadata import quoted

_SETTINGS, _MAP, _GENERATION = "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"
_TEMPLATE = "chat_template.jinja"
_MAIN = "default"  # of several templates, as transformers calls it


class _Token(Struct, frozen=True):
    content: str


class _NamedTemplate(Struct, frozen=True):
    name: str
    template: str


class Settings(Struct, frozen=True, kw_only=True):
    """tokenizer_config.json; special_tokens_map.json has some of the fields."""

    bos_token: _Token | str | None = None
    eos_token: _Token | str | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    chat_template: str | list[_NamedTemplate] | None = None


class _Generation(Struct, frozen=True, kw_only=True):
    """generation_config.json. A negative id means none."""

    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None


class SpecialTokens(Struct, frozen=True, kw_only=True):
    """Ids and texts."""

    bos: str  # "" where there is none
    eos: str
    ends: frozenset[int]  # any of these ends an answer
    before: list[int]  # what is put before a text
    behind: list[int]
    chat_template: str | None


def read_special_tokens(
    files: HubFiles, document: TokenizerJson, *, end_tokens: Iterable[int], bos_token: int | None
) -> SpecialTokens:
    """By text from the tokenizer's settings, else as the model itself says it, else by number from generation_config.

    `end_tokens` and `bos_token` are what the model says. Raises LoadFailed for ids that are none, and where no token
    ends an answer: it would go on for ever.
    """
    settings = files.document(_SETTINGS, Settings) or Settings()
    named = files.document(_MAP, Settings) or Settings()
    generation = files.document(_GENERATION, _Generation) or _Generation()
    said_ends = _checked(list(end_tokens), document, "the model")
    said_begins = _checked([] if bos_token is None else [bos_token], document, "the model")
    ends = said_ends + _checked(_listed(generation.eos_token_id), document, _GENERATION)
    begins = said_begins + _checked(_listed(generation.bos_token_id), document, _GENERATION)
    texts = {place: text for text, place in document.ids.items()}
    bos = _first_token(document.ids, settings.bos_token, named.bos_token) or next(map(texts.get, begins), None)
    eos = _first_token(document.ids, settings.eos_token, named.eos_token) or next(map(texts.get, ends), None)
    by_text = {document.ids[text] for text in (*ends_among(document.control), eos) if text is not None}
    if not (all_ends := by_text.union(ends)):
        raise LoadFailed(
            f"no file says which token ends an answer; name it as eos_token in {_SETTINGS}, or take another model"
        )
    before, behind = _around(document)
    return SpecialTokens(
        bos=bos or "",
        eos=eos or "",
        ends=frozenset(all_ends),
        before=_with(before, document.ids.get(bos or ""), settings.add_bos_token),
        behind=_with(behind, document.ids.get(eos or ""), settings.add_eos_token),
        chat_template=_template(files, settings),
    )


def _listed(ids: int | list[int] | None) -> list[int]:
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    return [place for place in listed if place >= 0]


def _checked(ids: list[int], document: TokenizerJson, source: str) -> list[int]:
    for place in ids:
        if not 0 <= place < document.size:
            raise LoadFailed(
                f"{source} names token {place}, and {NAME} has {document.size}: it belongs to another model; {AGAIN}"
            )
    return ids


def _first_token(ids: Mapping[str, int], *entries: _Token | str | None) -> str | None:
    """The first text that is a token."""
    texts = (entry.content if isinstance(entry, _Token) else entry for entry in entries)
    return next((text for text in texts if text in ids), None)


def _with(around: list[int], token: int | None, wanted: bool | None) -> list[int]:
    """What is put around a text, after what the settings say of BOS or EOS, which win over tokenizer.json."""
    if wanted is None or token is None:
        return around
    if not wanted:
        return [] if around == [token] else around
    return around or [token]


def _around(document: TokenizerJson) -> tuple[list[int], list[int]]:
    """What the post-processors put before and behind a text (`tokenizers`, its folder processors)."""
    before: list[int] = []
    behind: list[int] = []
    for step in document.post_processors:
        kind = step.get("type")
        if kind == "TemplateProcessing":
            first, last = _template_ids(step)
        elif kind in ("BertProcessing", "RobertaProcessing"):
            first, last = [_pair_id(step.get("cls"))], [_pair_id(step.get("sep"))]
        elif kind == "ByteLevel":  # moves offsets alone
            continue
        else:
            raise LoadFailed(f"{NAME}: post_processor is {quoted(str(kind))}, which is not known; take another model")
        before, behind = first + before, behind + last
    what = f"{NAME}: post_processor"
    return _checked(before, document, what), _checked(behind, document, what)


def _template_ids(step: Step) -> tuple[list[int], list[int]]:
    single, special = step.get("single"), step.get("special_tokens")
    if not isinstance(single, list) or not isinstance(special, dict):
        raise _unreadable()
    parts: list[list[int]] = [[]]
    for item in single:
        if isinstance(item, dict) and "Sequence" in item:
            parts.append([])
        elif isinstance(item, dict) and isinstance(named := item.get("SpecialToken"), dict):
            entry = special.get(str(named.get("id")))
            parts[-1] += _ids(entry.get("ids") if isinstance(entry, dict) else None)
        else:
            raise _unreadable()
    if len(parts) != 2:
        raise _unreadable()
    return parts[0], parts[1]


def _ids(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(place) is int for place in value):
        raise _unreadable()
    return list(value)


def _pair_id(value: object) -> int:
    """Of a text and its id."""
    if not isinstance(value, list) or len(value) != 2:
        raise _unreadable()
    return _ids(value[1:])[0]


def _unreadable() -> LoadFailed:
    return LoadFailed(f"{NAME}: post_processor does not put tokens around one text; {AGAIN}")


def _template(files: HubFiles, settings: Settings) -> str | None:
    if _TEMPLATE in files:
        return files.text(_TEMPLATE) or None
    written = settings.chat_template
    if isinstance(written, list):
        return next((one.template for one in written if one.name == _MAIN), None) or None
    return written or None
