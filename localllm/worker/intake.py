"""Requests to jobs: chat template, tokens."""

from localllm.chat.template import ChatTemplate
from localllm.engines.base import Tokenizer
from localllm.engines.job import Job
from localllm.errors import InvalidRequest
from localllm.types import ChatRequest, Message, TextRequest
from localllm.worker.messages import Submit


class Intake:
    """Turns what was submitted into prompts for one model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._template: ChatTemplate | None = None

    def job(self, order: Submit) -> Job:
        """The job for a request. Raises TemplateError or InvalidRequest."""
        match order.request:
            case ChatRequest(messages=messages):
                tokens = tuple(self._chat_tokens(messages))
            case TextRequest(prompt=str() as text):
                tokens = tuple(self._tokenizer.encode(text, add_special=True, parse_special=True))
            case TextRequest(prompt=prompt):
                tokens = tuple(int(token) for token in prompt)
        return Job(id=order.job_id, tokens=tokens, sampling=order.sampling)

    def _chat_tokens(self, messages: tuple[Message, ...]) -> list[int]:
        """The template writes every special token itself, so none is added (as in apply_chat_template)."""
        text = self._chat_template().render(messages)
        return self._tokenizer.encode(text, add_special=False, parse_special=True)

    def _chat_template(self) -> ChatTemplate:
        if self._template is None:
            source = self._tokenizer.chat_template
            if source is None:
                raise InvalidRequest(
                    "this model has no chat template; it continues texts (/v1/completions) and cannot chat",
                    param="messages",
                )
            self._template = ChatTemplate(source, bos=self._tokenizer.bos, eos=self._tokenizer.eos)
        return self._template
