"""What a checkpoint's small files say of its tokenizer: tokenizer_config.json and special_tokens_map.json."""

from msgspec import Struct

from localllm.convert.vocabulary.files import TokenizerFiles
from localllm.convert.vocabulary.tokenizer_json import TokenId

CONFIG_NAME = "tokenizer_config.json"
MAP_NAME = "special_tokens_map.json"


class TokenEntry(Struct, frozen=True):
    """A token as transformers writes it (AddedToken)."""

    content: str
    special: bool = False


class NamedTemplate(Struct, frozen=True):
    """One of several chat templates."""

    name: str
    template: str


class TokenizerConfig(Struct, frozen=True, kw_only=True):
    """tokenizer_config.json, or special_tokens_map.json, which has some of the fields."""

    bos_token: TokenEntry | str | None = None
    eos_token: TokenEntry | str | None = None
    unk_token: TokenEntry | str | None = None
    sep_token: TokenEntry | str | None = None
    pad_token: TokenEntry | str | None = None
    mask_token: TokenEntry | str | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    add_prefix_space: bool | None = None
    added_tokens_decoder: dict[TokenId, TokenEntry] | None = None
    chat_template: str | list[NamedTemplate] | None = None

    def text(self, kind: str) -> str | None:
        """The text of the token that is bos, eos, unk, sep, pad or mask."""
        entry = {
            "bos": self.bos_token,
            "eos": self.eos_token,
            "unk": self.unk_token,
            "sep": self.sep_token,
            "pad": self.pad_token,
            "mask": self.mask_token,
        }[kind]
        return entry.content if isinstance(entry, TokenEntry) else entry


class Settings(Struct, frozen=True, kw_only=True):
    """Both files; where there is none, nothing is said."""

    config: TokenizerConfig
    map: TokenizerConfig

    def texts(self, kind: str) -> list[str]:
        """What they call the token that is `kind`, as TokenizerConfig.text, the one that counts first."""
        return [text for file in (self.config, self.map) if (text := file.text(kind))]

    def special_texts(self) -> set[str]:
        """Every token that has a part to play."""
        return {text for kind in ("bos", "eos", "unk", "sep", "pad", "mask") for text in self.texts(kind)}


def read_settings(files: TokenizerFiles) -> Settings:
    """Read them. Raises LoadFailed."""
    nothing = TokenizerConfig()
    return Settings(
        config=files.document(CONFIG_NAME, TokenizerConfig) or nothing,
        map=files.document(MAP_NAME, TokenizerConfig) or nothing,
    )
