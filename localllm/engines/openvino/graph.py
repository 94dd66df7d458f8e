"""A GGUF as a graph of OpenVINO, with attention that its scheduler turns into paged attention.

The graph is the one that OpenVINO's passes look for: a root mean square from its parts, rotation of halves, keys and
values in variables that `beam_idx` reorders, and one scaled dot product attention a layer.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as op

from localllm.engines.openvino.shape import ROPE_FACTORS, Shape

OnLayer = Callable[[float], None]  # fraction built
_GPU_ACTIVATIONS = 8.0  # halves its activations' range in float16; what OpenVINO's own reader of GGUF sets, too


class Tensors(Protocol):
    """Where weights come from; see TensorReader."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of the name."""
        ...

    def rows(self, name: str) -> int:
        """How many rows a matrix has."""
        ...

    def vector(self, name: str, width: int, *, pair_heads: int = 0) -> NDArray[np.float32]:
        """The numbers of a tensor of one dimension."""
        ...

    def matrix(self, name: str, rows: int, columns: int, *, pair_heads: int = 0) -> Node:
        """A node of float32 [rows, columns]."""
        ...


def build_graph(shape: Shape, tensors: Tensors, on_layer: OnLayer = lambda _: None) -> ov.Model:
    """The model, its weights copied. Raises LoadFailed for tensors that are missing or of another shape."""
    return _Builder(shape, tensors).build(on_layer)


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


class _Inputs:
    """What all layers share."""

    def __init__(self, shape: Shape, factors: NDArray[np.float32] | None) -> None:
        self.tokens = op.parameter([-1, -1], np.int64, name="input_ids")
        self.attended = op.parameter([-1, -1], np.int64, name="attention_mask")
        self.positions = op.parameter([-1, -1], np.int64, name="position_ids")
        self.beams = op.parameter([-1], np.int32, name="beam_idx")
        for parameter in self.parameters:
            parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
        self.batch = op.gather(op.shape_of(self.tokens), _ints(0), _ints(0))
        self.cosine, self.sine = self._rotation(shape, factors)
        self.mask = self._mask()

    @property
    def parameters(self) -> list[Node]:
        return [self.tokens, self.attended, self.positions, self.beams]

    def _rotation(self, shape: Shape, factors: NDArray[np.float32] | None) -> tuple[Node, Node]:
        """Cosine and sine [batch, 1, tokens, head_width] (Su et al. 2021), in llama.cpp's terms freq_factors."""
        half = np.arange(0, shape.head_width, 2, dtype=np.float64) / shape.head_width
        frequencies = 1.0 / (shape.rope_base**half * shape.rope_scale)
        if factors is not None:
            frequencies = frequencies / factors
        constant = op.constant(frequencies.astype(np.float32).reshape(1, -1, 1))
        spread = op.broadcast(constant, op.concat([self.batch, _ints(1), _ints(1)], 0), broadcast_spec="BIDIRECTIONAL")
        positions = op.convert(op.unsqueeze(self.positions, _ints(1)), "f32")
        angles = op.transpose(op.matmul(spread, positions, False, False), _ints(0, 2, 1))
        both = op.concat([angles, angles], -1)
        return op.unsqueeze(op.cos(both), _ints(1)), op.unsqueeze(op.sin(both), _ints(1))

    def _mask(self) -> Node:
        """[batch, 1, tokens, keys]: no token sees those behind it. Paged attention puts its own in this place."""
        keys = op.gather(op.shape_of(self.attended), op.constant(np.int64(1)), op.constant(np.int64(0)))
        places = op.range(op.constant(np.int64(0)), keys, op.constant(np.int64(1)), "i64")
        is_seen = op.less_equal(places, op.unsqueeze(self.positions, _ints(2)))
        is_there = op.equal(op.unsqueeze(self.attended, _ints(1)), op.constant(np.int64(1)))
        mask = op.select(op.logical_and(is_seen, is_there), op.constant(np.float32(0)), op.constant(np.float32(-65504)))
        return op.unsqueeze(mask, _ints(1))


class _Builder:
    """Layer by layer."""

    def __init__(self, shape: Shape, tensors: Tensors) -> None:
        self._shape = shape
        self._tensors = tensors
        factors = tensors.vector(ROPE_FACTORS, shape.head_width // 2) if ROPE_FACTORS in tensors else None
        self._inputs = _Inputs(shape, factors)
        self._sinks: list[Node] = []

    def build(self, on_layer: OnLayer) -> ov.Model:
        shape = self._shape
        embedding = self._tensors.matrix("token_embd.weight", shape.vocabulary, shape.width)
        hidden = op.gather(embedding, op.convert(self._inputs.tokens, "i32"), op.constant(np.int32(0)))
        for layer in range(shape.layers):
            hidden = self._layer(f"blk.{layer}", layer, hidden)
            on_layer((layer + 1) / shape.layers)
        hidden = self._norm(hidden, "output_norm", shape.width)
        has_output = "output.weight" in self._tensors
        output = self._tensors.matrix("output.weight", shape.vocabulary, shape.width) if has_output else embedding
        logits = op.result(op.matmul(hidden, output, False, True), name="logits")
        logits.output(0).get_tensor().set_names({"logits"})
        model = ov.Model([logits], self._sinks, self._inputs.parameters, "localllm")
        model.set_rt_info(_GPU_ACTIVATIONS, ["runtime_options", "ACTIVATIONS_SCALE_FACTOR"])
        return model

    def _layer(self, block: str, layer: int, hidden: Node) -> Node:
        shape = self._shape
        attended = self._attention(block, layer, self._norm(hidden, f"{block}.attn_norm", shape.width))
        hidden = op.add(hidden, attended)
        normed = self._norm(hidden, f"{block}.ffn_norm", shape.width)
        inner = self._tensors.rows(f"{block}.ffn_gate.weight")
        gate = op.swish(self._linear(normed, f"{block}.ffn_gate", inner, shape.width))
        up = self._linear(normed, f"{block}.ffn_up", inner, shape.width)
        return op.add(hidden, self._linear(op.multiply(gate, up), f"{block}.ffn_down", shape.width, inner))

    def _attention(self, block: str, layer: int, normed: Node) -> Node:
        shape = self._shape
        query = self._rotated(self._heads(normed, f"{block}.attn_q", shape.heads, is_rotated=True))
        key = self._rotated(self._heads(normed, f"{block}.attn_k", shape.kv_heads, is_rotated=True))
        value = self._heads(normed, f"{block}.attn_v", shape.kv_heads, is_rotated=False)
        keys = self._cached(key, f"past_key_values.{layer}.key")
        values = self._cached(value, f"past_key_values.{layer}.value")
        mixed = op.scaled_dot_product_attention(
            query, self._repeated(keys), self._repeated(values), self._inputs.mask, causal=False
        )
        whole = shape.heads * shape.head_width
        flat = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, whole), True)
        return self._linear(flat, f"{block}.attn_output", shape.width, whole)

    def _heads(self, normed: Node, name: str, heads: int, *, is_rotated: bool) -> Node:
        """[batch, heads, tokens, head_width]."""
        shape = self._shape
        paired = heads if is_rotated and shape.is_interleaved else 0
        flat = self._linear(normed, name, heads * shape.head_width, shape.width, pair_heads=paired)
        split = op.reshape(flat, _ints(0, 0, heads, shape.head_width), True)
        if f"{name}_norm.weight" in self._tensors:  # Qwen3
            split = self._norm(split, f"{name}_norm", shape.head_width)
        return op.transpose(split, _ints(0, 2, 1, 3))

    def _rotated(self, heads: Node) -> Node:
        half = self._shape.head_width // 2
        first = op.slice(heads, _ints(0), _ints(half), _ints(1), _ints(3))
        second = op.slice(heads, _ints(half), _ints(np.iinfo(np.int64).max), _ints(1), _ints(3))
        turned = op.concat([op.multiply(second, op.constant(np.full((1, 1, 1, 1), -1, np.float32))), first], -1)
        return op.add(op.multiply(heads, self._inputs.cosine), op.multiply(turned, self._inputs.sine))

    def _cached(self, new: Node, name: str) -> Node:
        """All keys or values so far; a variable keeps them for the next call."""
        shape = self._shape
        empty = op.broadcast(
            op.constant(np.float32(0)),
            op.concat([self._inputs.batch, _ints(shape.kv_heads), _ints(0), _ints(shape.head_width)], 0),
        )
        about = ov.op.util.VariableInfo()
        about.data_shape = ov.PartialShape([-1, shape.kv_heads, -1, shape.head_width])
        about.data_type = ov.Type.f32
        about.variable_id = name
        variable = ov.op.util.Variable(about)
        past = ov.op.read_value(empty, variable)
        kept = op.gather(past, self._inputs.beams, op.constant(np.int64(0)))
        whole = op.concat([kept, new], 2)
        self._sinks.append(ov.op.assign(whole, variable))
        return whole

    def _repeated(self, heads: Node) -> Node:
        """One head of keys or values for each head of queries."""
        shape = self._shape
        each = shape.heads // shape.kv_heads
        if each == 1:
            return heads
        wide = op.concat([self._inputs.batch, _ints(shape.kv_heads, each, 1, shape.head_width)], 0)
        spread = op.broadcast(op.unsqueeze(heads, _ints(2)), wide, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(spread, _ints(0, shape.heads, -1, shape.head_width), True)

    def _norm(self, hidden: Node, name: str, width: int) -> Node:
        """Root mean square (Zhang and Sennrich 2019)."""
        squares = op.power(hidden, op.constant(np.float32(2)))
        mean = op.reduce_mean(squares, op.constant(np.array([-1], np.int32)), True)
        root = op.sqrt(op.add(mean, op.constant(np.float32(self._shape.epsilon))))
        scaled = op.multiply(op.divide(op.constant(np.float32(1)), root), hidden)
        return op.multiply(scaled, op.constant(self._tensors.vector(f"{name}.weight", width)))

    def _linear(self, hidden: Node, name: str, rows: int, columns: int, *, pair_heads: int = 0) -> Node:
        weights = self._tensors.matrix(f"{name}.weight", rows, columns, pair_heads=pair_heads)
        product = op.matmul(hidden, weights, False, True)
        if f"{name}.bias" not in self._tensors:
            return product
        return op.add(product, op.constant(self._tensors.vector(f"{name}.bias", rows, pair_heads=pair_heads)))
