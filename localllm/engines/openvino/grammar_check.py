"""Whether a grammar compiles, found out where it can harm nobody.

OpenVINO compiles a grammar in the step that chooses the first token, together with everybody else's tokens, and fails
that step. So it is tried before in a pipeline of its own, over a model of the same vocabulary and next to no weights;
what it compiled is kept by the tokenizer, which both share.
"""

import tempfile
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as op

from localllm.engines.openvino.graph import build_graph
from localllm.engines.openvino.native import line
from localllm.engines.openvino.shape import Shape
from localllm.errors import InvalidRequest

_WIDTH = 32


class GrammarCheck:
    """Tries grammars for one vocabulary."""

    def __init__(self, tokenizer: genai.Tokenizer, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._pipeline: genai.ContinuousBatchingPipeline | None = None  # made when it is first needed

    def check(self, config: genai.GenerationConfig) -> None:
        """Raises InvalidRequest for a grammar that does not compile."""
        pipeline = self._pipeline = self._pipeline or self._open()
        handle = pipeline.add_request(0, ov.Tensor(np.zeros((1, 1), np.int64)), config)
        try:
            pipeline.step()
        except Exception as error:  # RuntimeError of OpenVINO's, and whatever xgrammar throws
            raise InvalidRequest(f"the grammar does not compile: {line(error)}", param="response_format") from error
        finally:
            handle.cancel()
            while pipeline.has_non_finished_requests():  # the cancelled one leaves
                pipeline.step()

    def close(self) -> None:
        """Free it; idempotent."""
        self._pipeline = None

    def _open(self) -> genai.ContinuousBatchingPipeline:
        shape = Shape(
            architecture="qwen2",
            layers=1,
            heads=1,
            kv_heads=1,
            head_width=_WIDTH,
            width=_WIDTH,
            vocabulary=self._vocabulary,
            context_tokens=64,
            epsilon=1e-5,
            rope_base=10_000.0,
            rope_scale=1.0,
        )
        config = genai.SchedulerConfig()
        config.num_kv_blocks, config.max_num_seqs, config.enable_prefix_caching = 8, 1, False
        with tempfile.TemporaryDirectory(prefix="localllm-", ignore_cleanup_errors=True) as folder:
            ov.serialize(build_graph(shape, _Zeros()), str(Path(folder, "openvino_model.xml")))
            return genai.ContinuousBatchingPipeline(
                folder, self._tokenizer, config, "CPU", INFERENCE_NUM_THREADS=1, ENABLE_MMAP=False
            )


class _Zeros:
    """Weights that say nothing."""

    def __contains__(self, name: str) -> bool:
        return False

    def rows(self, _name: str) -> int:
        return _WIDTH

    def vector(self, _name: str, width: int, *, pair_heads: int = 0) -> NDArray[np.float32]:  # noqa: ARG002
        return np.zeros(width, np.float32)

    def matrix(self, _name: str, rows: int, columns: int, *, pair_heads: int = 0) -> Node:  # noqa: ARG002
        return op.convert(op.constant(np.zeros((rows, columns), np.int8)), "f32")
