"""Chat templates of a checkpoint."""

from msgspec import Struct

from localllm.convert.vocabulary.files import TokenizerFiles
from localllm.convert.vocabulary.settings import NamedTemplate, Settings

_JINJA, _JSON = "chat_template.jinja", "chat_template.json"
_MAIN = "default"  # as transformers calls it


class _TemplateFile(Struct, frozen=True):
    chat_template: str | list[NamedTemplate] | None = None


class Templates(Struct, frozen=True):
    """The one for chats, and others by name."""

    main: str | None
    others: dict[str, str]


def read_templates(files: TokenizerFiles, settings: Settings) -> Templates:
    """What transformers takes: chat_template.jinja, else that of tokenizer_config.json, else chat_template.json.

    Of several by name, `default` is the main one. Raises LoadFailed.
    """
    written = settings.config.chat_template
    named = {one.name: one.template for one in written if one.template} if isinstance(written, list) else {}
    main = named.pop(_MAIN, None) if isinstance(written, list) else written
    if _JINJA in files:
        main = files.text(_JINJA)
    elif not main and not named:
        return _from_json(files)
    return Templates(main or None, named)


def _from_json(files: TokenizerFiles) -> Templates:
    written = (files.document(_JSON, _TemplateFile) or _TemplateFile()).chat_template
    named = {one.name: one.template for one in written} if isinstance(written, list) else {_MAIN: written or ""}
    return Templates(named.pop(_MAIN, None) or None, named)
