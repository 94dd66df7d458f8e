"""Tokens that are cut out of the text before all else, from all the files that may list them."""

from msgspec import Struct

from localllm.convert.json_object import AGAIN
from localllm.convert.vocabulary.files import TokenizerFiles
from localllm.convert.vocabulary.settings import Settings
from localllm.convert.vocabulary.tokenizer_json import NAME as JSON_NAME
from localllm.convert.vocabulary.tokenizer_json import AddedToken, TokenId, TokenizerJson
from localllm.convert.vocabulary.tokens import CONTROL, USER_DEFINED
from localllm.errors import LoadFailed
from localllm.models.control_tokens import looks_special
from localllm.models.gguf.metadata import quoted


class _Seen(Struct, frozen=True):
    token: AddedToken
    file: str


def read_added_tokens(
    files: TokenizerFiles, document: TokenizerJson | None, settings: Settings, size: int
) -> list[AddedToken]:
    """Those of added_tokens.json, tokenizer.json and tokenizer_config.json, by id.

    Which of the files has them depends on the version of transformers that saved the checkpoint. Those beyond the
    `size` rows of the embedding are left out, as in Gemma 3, whose text models list a token for images.
    Raises LoadFailed where the files do not agree on an id.
    """
    plain = files.document("added_tokens.json", dict[str, TokenId]) or {}
    listed = (document.added_tokens if document else None) or []
    decoder = settings.config.added_tokens_decoder or {}
    special = settings.special_texts()
    named = [
        *(("added_tokens.json", AddedToken(id=place, content=text)) for text, place in plain.items()),
        *((JSON_NAME, token) for token in listed),
        *(
            ("tokenizer_config.json", AddedToken(id=place, content=entry.content, special=entry.special))
            for place, entry in decoder.items()
        ),
    ]
    found: dict[int, _Seen] = {}
    for file, token in named:
        other = found.get(token.id)
        if other and other.token.content != token.content:
            both = f"{quoted(other.token.content)} in {other.file} and {quoted(token.content)} in {file}"
            raise LoadFailed(f"token {token.id} is {both}; {AGAIN}")
        is_special = token.special or token.content in special or bool(other and other.token.special)
        found[token.id] = _Seen(AddedToken(id=token.id, content=token.content, special=is_special), file)
    return [found[place].token for place in sorted(found) if place < size]


def added_type(token: AddedToken) -> int:
    """CONTROL for what a chat is made of and no text should contain, else USER_DEFINED."""
    return CONTROL if token.special or looks_special(token.content) else USER_DEFINED
