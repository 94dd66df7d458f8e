"""Chat templates: the Jinja2 source in a model's file, rendered in an immutable sandbox.

Follows the conventions of Hugging Face's `apply_chat_template`: trimmed blocks, loop controls,
`raise_exception`, `strftime_now`, `tojson` without HTML escapes, `bos_token` and `eos_token`.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import to_builtins

from localllm.errors import TemplateError
from localllm.types import Message


class ChatTemplate:
    """A compiled template. Raises TemplateError when the source is not a template."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now, bos_token=bos, eos_token=eos)
        try:
            self._template = environment.from_string(source)
        except (JinjaError, RecursionError, ValueError) as error:
            raise TemplateError(f"the model's chat template is broken: {error}") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for the assistant's next turn.

        Raises TemplateError, with the template's own words where it refuses the messages.
        """
        turns = [to_builtins(message) for message in messages]
        try:
            return self._template.render(messages=turns, add_generation_prompt=True)
        except JinjaError as error:
            raise TemplateError(f"the model's chat template refuses this chat: {error}", param="messages") from error
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            text = f"the model's chat template failed: {type(error).__name__}: {error}"
            raise TemplateError(text, param="messages") from error


def _raise(message: str) -> NoReturn:
    raise JinjaError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
