"""Requests to jobs: chat template, tokens, grammars."""

from typing import TYPE_CHECKING

from localllm.chat.template import ChatTemplate
from localllm.chat.volatile import without_volatile_lines
from localllm.engines.base import Tokenizer
from localllm.engines.job import Job, TokenConstraint
from localllm.errors import InvalidRequest
from localllm.inference.embedding import EmbedJob
from localllm.types import ChatRequest, Constraint, Message, TextRequest
from localllm.worker.messages import Embed, Submit

if TYPE_CHECKING:
    from localllm.inference.constraints.compiler import ConstraintCompiler


class Intake:
    """Turns what was submitted into prompts for one model; `compiles` grammars for an engine that takes them so."""

    def __init__(self, tokenizer: Tokenizer, volatile_lines: tuple[str, ...] = (), *, compiles: bool = True) -> None:
        self._compiles = compiles
        self._tokenizer = tokenizer
        self._volatile_lines = volatile_lines
        self._template: ChatTemplate | None = None
        self._compiler: ConstraintCompiler | None = None

    def job(self, order: Submit) -> Job:
        """The job for a request. Raises TemplateError or InvalidRequest."""
        request = order.request
        match request:
            case ChatRequest(messages=messages):
                tokens = tuple(self._chat_tokens(messages))
            case TextRequest(prompt=prompt):
                tokens = self._tokens(prompt)
        constraint = self._compile(request.constraint) if request.constraint and self._compiles else None
        return Job(
            id=order.job_id,
            tokens=tokens,
            sampling=order.sampling,
            constraint=constraint,
            wanted=request.constraint,
            adapters=request.adapters,
            client=request.client,
        )

    def embed_job(self, order: Embed) -> EmbedJob:
        """The job for texts to embed."""
        return EmbedJob(
            id=order.job_id,
            inputs=tuple(self._tokens(text) for text in order.request.inputs),
            is_batch=order.request.client.priority == "batch",
        )

    def _compile(self, constraint: Constraint) -> TokenConstraint:
        if self._compiler is None:  # most models never need the grammar library, which takes time to import
            from localllm.inference.constraints.compiler import ConstraintCompiler

            self._compiler = ConstraintCompiler(self._tokenizer)
        return self._compiler.compile(constraint)

    def _tokens(self, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return tuple(self._tokenizer.encode(prompt, add_special=True, parse_special=True))
        return tuple(int(token) for token in prompt)

    def _chat_tokens(self, messages: tuple[Message, ...]) -> list[int]:
        """The template writes every special token itself, so none is added (as in apply_chat_template)."""
        text = self._chat_template().render(without_volatile_lines(messages, self._volatile_lines))
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
