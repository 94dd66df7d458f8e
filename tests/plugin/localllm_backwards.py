"""A sample engine for localllm: answers with the prompt, backwards."""

from localllm.engines.back_ends import EngineReport
from localllm.engines.base import OnProgress
from localllm.engines.job import Job
from localllm.engines.pipeline import Emission, PipelineInfo
from localllm.engines.plan import LoadPlan, check_options
from localllm.types import FinishReason


class Bytes:  # a token is a byte; 256 ends an answer
    vocab_size, end_tokens, bos, eos = 257, frozenset({256}), "", ""
    chat_template = "{{ messages[-1]['content'] }}"

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""


class Pipeline:
    def __init__(self, plan: LoadPlan) -> None:
        self.tokenizer = Bytes()
        self.info = PipelineInfo(
            engine="backwards", build="1.0", device="cpu", context_tokens=plan.context_tokens or 512,
            max_jobs=plan.max_jobs or 4, threads=1, load_seconds=0.0, sampling=frozenset(),
        )  # fmt: skip
        self._answers: dict[int, tuple[list[int], FinishReason]] = {}

    def start(self, job: Job, max_tokens: int) -> None:
        whole = list(job.tokens)[::-1]
        self._answers[job.id] = (whole[:max_tokens], "stop" if len(whole) <= max_tokens else "length")

    def step(self) -> list[Emission]:
        return [
            Emission(job_id=job_id, tokens=(left.pop(0),), finish=None if left else reason)
            for job_id, (left, reason) in self._answers.items()
        ]

    def cancel(self, job_id: int) -> None:
        self._answers.pop(job_id, None)

    def close(self) -> None:
        self._answers.clear()


class Backwards:
    """What the entry point names: `backwards = "localllm_backwards:Backwards"`."""

    name, formats = "backwards", frozenset({"gguf"})

    def report(self) -> EngineReport:
        return EngineReport(engine=self.name, is_usable=True, build="1.0")

    def load(self, plan: LoadPlan, on_progress: OnProgress) -> Pipeline:
        check_options(plan)
        return Pipeline(plan)
