"""Frames survive any cutting, and messages come back as they went."""

import os
import random

import msgspec
import pytest

from localllm.engines.job import Delta
from localllm.engines.plan import LoadPlan
from localllm.errors import ContextOverflow, LocalLLMError, WorkerDied
from localllm.types import (
    AdapterUse,
    ChatRequest,
    Client,
    Constraint,
    Embeddings,
    EmbedRequest,
    Measurements,
    Message,
    Sampling,
    SamplingChoice,
    TextRequest,
    TokenLogprob,
)
from localllm.worker.frames import LENGTH, MAX_FRAME_BYTES, FrameBuffer, frame, messages
from localllm.worker.messages import (
    Cancel,
    Deltas,
    Embed,
    Embedded,
    ErrorReport,
    FromWorker,
    JobFault,
    Leave,
    Load,
    Loading,
    Measure,
    Submit,
    ToWorker,
)
from tests.scripts import USAGE

ORDERS = [
    Load(LoadPlan(engine="echo", path="", max_jobs=2)),
    Submit(
        1,
        ChatRequest(messages=(Message("user", "héllo"),), sampling=SamplingChoice(temperature=0.0)),
        Sampling(stop=("a", "b"), logit_bias={5: -1.5}),
    ),
    Submit(2, TextRequest(prompt=(1, 2, 3)), Sampling()),
    Submit(3, TextRequest(prompt="text"), Sampling(seed=9)),
    Submit(
        4,
        TextRequest(prompt="x", constraint=Constraint("regex", "a+"), adapters=(AdapterUse("a", 0.5),), choices=2),
        Sampling(logprobs=3),
    ),
    Embed(5, EmbedRequest(inputs=("a", (1, 2)), client=Client("ann", "batch"))),
    Cancel(3),
    Measure(),
    Leave(),
]
REPORTS = [
    Loading(0.5),
    Deltas([Delta(job_id=1, text="a"), Delta(job_id=2, finish="stop", usage=USAGE)]),
    Deltas([Delta(job_id=3, prompt_done=64, prompt_total=128)]),
    Deltas([Delta(job_id=4, queue_position=2), Delta(job_id=4, logprobs=(TokenLogprob(b"\xe2", -0.5),))]),
    Embedded(5, Embeddings(vectors=(b"\0\0\x80?", b"\0\0\0\0"), prompt_tokens=4)),
    JobFault(1, ErrorReport("engine_error", "broken", None)),
    JobFault(2, ErrorReport("queue_full", "come again", None, 2.5)),
    Measurements(1, 2, 3.0, 4.0),
]


def test_messages_come_back_in_any_pieces() -> None:
    source = random.Random(0)
    for sent, kind in ((ORDERS, ToWorker), (REPORTS, FromWorker)):
        data = b"".join(map(frame, sent))
        for _ in range(50):
            buffer, found, at = FrameBuffer(), [], 0
            while at < len(data):
                size = source.randrange(1, 40)
                found += [msgspec.msgpack.decode(body, type=kind) for body in buffer.feed(data[at : at + size])]
                at += size
            assert found == sent


def test_messages_come_over_a_pipe_until_it_ends() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(b"".join(map(frame, ORDERS)))
    with os.fdopen(reader, "rb"):
        assert list(messages(reader, msgspec.msgpack.Decoder(ToWorker))) == ORDERS


@pytest.mark.parametrize(
    ("data", "kind"), [(LENGTH.pack(MAX_FRAME_BYTES + 1), ValueError), (LENGTH.pack(1) + b"x", msgspec.MsgspecError)]
)
def test_garbage_that_comes_over_a_pipe_is_an_error(data: bytes, kind: type[Exception]) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(frame(ORDERS[0]) + data)
    with os.fdopen(reader, "rb"):
        found = messages(reader, msgspec.msgpack.Decoder(ToWorker))
        assert next(found) == ORDERS[0]
        with pytest.raises(kind):
            next(found)


def test_an_impossible_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(FrameBuffer().feed(LENGTH.pack(MAX_FRAME_BYTES + 1)))


@pytest.mark.parametrize("kind", [ContextOverflow, WorkerDied, LocalLLMError])
def test_errors_keep_their_kind_across_the_border(kind: type[LocalLLMError]) -> None:
    error = ErrorReport.of(kind("what happened", param="messages")).rebuild()
    assert type(error) is kind
    assert (error.message, error.param) == ("what happened", "messages")


def test_an_unknown_code_is_still_an_error_of_ours() -> None:
    assert type(ErrorReport("from_the_future", "x").rebuild()) is LocalLLMError
