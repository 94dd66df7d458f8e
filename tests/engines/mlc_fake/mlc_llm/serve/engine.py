"""AsyncMLCEngine and MLCEngine of the fake, with the trap of the latter: one queue for all of its requests."""

import asyncio
import codecs
import dataclasses
import json
import os
import queue
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import tvm
from mlc_llm.interface.jit import jit
from mlc_llm.protocol import Choice, Request, Response
from mlc_llm.serve.decoding import Decoder, Output, Vocabulary

JOBS = {"local": 4, "interactive": 1, "server": 8}
MADE: list[str] = []  # kinds of engines that were made in this process


@dataclasses.dataclass
class EngineConfig:
    """The fields that are used."""

    mode: str | None = None
    kv_cache_page_size: int = 16
    max_num_sequence: int | None = None
    max_total_sequence_length: int | None = None
    max_single_sequence_length: int | None = None
    prefix_cache_mode: str = "radix"
    verbose: bool = True


class TextStreamer:
    """Whole characters of tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def put(self, tokens: list[int]) -> str:
        return self._decoder.decode(b"".join(self._vocabulary.pieces.get(token, b"") for token in tokens))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _Engine:
    def __init__(
        self,
        model: str,
        device: "str | tvm.Device" = "auto",
        *,
        model_lib: str | None = None,
        mode: str = "local",
        engine_config: EngineConfig | None = None,
    ) -> None:
        MADE.append(type(self).__name__)
        config = engine_config or EngineConfig()
        found = tvm.device(device) if isinstance(device, str) and device != "auto" else device
        if isinstance(found, tvm.Device) and not found.exist:
            raise ValueError(f"Device is not found on your local environment: {found.kind}")
        folder = Path(model)
        chat_config = json.loads((folder / "mlc-chat-config.json").read_text("utf-8"))
        if model_lib is None:
            model_lib = jit(folder, {}, found).model_lib_path
        if not model_lib.startswith("mock://") and not Path(model_lib).is_file():
            raise FileNotFoundError(f"The `model_lib` you passed in is not a file: {model_lib}.\n")
        if os.environ.get("FAKE_MLC_FAIL") == "load":
            raise RuntimeError("InternalError: Insufficient GPU memory error: The available single GPU memory is 2 MB")
        window = chat_config["context_window_size"]
        config.max_num_sequence = config.max_num_sequence or JOBS[mode]
        config.max_single_sequence_length = min(config.max_single_sequence_length or window, window)
        config.max_total_sequence_length = config.max_total_sequence_length or config.max_single_sequence_length
        self.engine_config = config
        self.vocabulary = Vocabulary(folder)
        self.most_tokens = min(config.max_single_sequence_length, config.max_total_sequence_length)
        self.is_terminated = False
        caches = config.prefix_cache_mode == "radix"
        self.decoder = Decoder(self.vocabulary, config.max_num_sequence, self.most_tokens, caches=caches)

    def terminate(self) -> None:
        if not self.is_terminated:
            self.is_terminated = True
            self.decoder.end()


class AsyncMLCEngine(_Engine):
    """A queue for each request, filled on the event loop."""

    def __init__(self, *arguments: str, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.loop: asyncio.AbstractEventLoop | None = None
        self.streams: dict[str, asyncio.Queue[Output]] = {}
        self.completions = AsyncCompletions(self)
        self.decoder.callback = self._on_outputs

    def _on_outputs(self, outputs: list[Output]) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._spread, outputs)

    def _spread(self, outputs: list[Output]) -> None:
        for output in outputs:
            stream = self.streams.get(output.request_id)
            if stream is not None:  # else it was aborted
                stream.put_nowait(output)
                if output.usage is not None:
                    del self.streams[output.request_id]


class AsyncCompletions:
    """AsyncCompletion."""

    def __init__(self, engine: AsyncMLCEngine) -> None:
        self._engine = engine

    async def create(
        self,
        *,
        prompt: list[int],
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        logit_bias: dict[int, float] | None = None,
        seed: int | None = None,
        stream: bool = False,
        stream_options: dict[str, object] | None = None,
        response_format: dict[str, object] | None = None,
        request_id: str | None = None,
        extra_body: dict[str, object] | None = None,
    ) -> AsyncGenerator[Response, None]:
        fields = {name: value for name, value in locals().items() if name not in ("self", "prompt", "request_id")}
        debug_config = (extra_body or {}).get("debug_config")
        if not stream:
            raise NotImplementedError("the fake only streams")
        return self._handle(Request(request_id or "cmpl", prompt, debug_config=debug_config, **fields))

    async def _handle(self, request: Request) -> AsyncGenerator[Response, None]:
        engine = self._engine
        if engine.is_terminated:
            raise ValueError("The AsyncThreadedEngine has terminated.")
        engine.loop = engine.loop or asyncio.get_running_loop()
        request.check(engine.most_tokens)
        if request.id in engine.streams:
            raise RuntimeError(f'The request id "{request.id} already exists.')
        outputs = engine.streams[request.id] = asyncio.Queue()
        engine.decoder.add(request)
        streamer = TextStreamer(engine.vocabulary)
        try:
            while True:
                output = await outputs.get()
                if output.usage is not None:
                    if request.include_usage:
                        yield Response(request.id, [], output.usage)
                    return
                response = _response(output, streamer)
                if response is not None:
                    yield response
        except BaseException:
            engine.streams.pop(request.id, None)
            engine.decoder.abort(request.id)
            raise


class MLCEngine(_Engine):
    """One queue, made anew for each request: what is still to come for one that was left goes to the next."""

    def __init__(self, *arguments: str, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.outputs: queue.Queue[list[Output]] = queue.Queue()
        self.decoder.callback = self._on_outputs

    def _on_outputs(self, outputs: list[Output]) -> None:
        self.outputs.put(outputs)

    def stream(self, request_id: str, prompt: list[int], **fields: object) -> Iterator[Response]:
        """As completions.create of the real one."""
        request = Request(request_id, prompt, **fields)
        request.check(self.most_tokens)
        self.outputs = queue.Queue()
        streamer = TextStreamer(self.vocabulary)
        self.decoder.add(request)
        try:
            while True:
                for output in self.outputs.get():
                    if output.usage is not None:
                        yield Response(output.request_id, [], output.usage)
                        return
                    response = _response(output, streamer)
                    if response is not None:
                        yield response
        except BaseException:
            self.decoder.abort(request_id)
            raise


def _response(output: Output, streamer: TextStreamer) -> Response | None:
    text = streamer.put(output.tokens) + (streamer.finish() if output.finish is not None else "")
    return Response(output.request_id, [Choice(text, output.finish)]) if text or output.finish else None
