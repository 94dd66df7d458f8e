"""Weights find their places, and ends their ids."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from localllm.convert.slabs import slabs_of
from localllm.engines.executorch.exporter.ends import ends_of
from localllm.engines.executorch.exporter.layout import Place, layout_of
from localllm.engines.executorch.exporter.shape import shape_of
from localllm.engines.executorch.exporter.weights import StoredWeights, halved, placed
from localllm.errors import LoadFailed
from localllm.models.gguf.header import read_header
from tests.tiny import WIDTH, write_tiny_model


def test_halves_are_what_the_converter_made_neighbours_of() -> None:
    rows = np.arange(48 * 3, dtype=np.float32).reshape(48, 3)
    flat = rows.view(np.uint32).reshape(-1)
    pieces = [
        slab.arranged(np.stack([flat[start : start + slab.values] for start in slab.starts])).reshape(-1)
        for slab in slabs_of(rows.shape, 4)
    ]
    neighbours = np.concatenate(pieces).view(np.float32).reshape(rows.shape)
    assert not np.array_equal(neighbours, rows)
    assert np.array_equal(halved(neighbours, 4), rows)
    assert np.array_equal(halved(neighbours[:, 0], 4), rows[:, 0])  # a bias


def test_a_factor_multiplies() -> None:
    place = Place(source="a", target="b", shape=(2,), factor=0.5)
    assert placed(np.array([2.0, -4.0], np.float32), place).tolist() == [1.0, -2.0]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_weights_are_read_as_gguf_reads_them(kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 0.3, (5, 64)).astype(np.float32)
    stored = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "one.gguf", "llama")
    packed = gguf.quants.quantize(values, stored)
    writer.add_tensor("other", np.ones(3, np.float32))
    writer.add_tensor("one", packed, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights = StoredWeights([read_header(tmp_path / "one.gguf")], [tmp_path / "one.gguf"])
    found = weights.read("one")
    assert found.dtype == np.float32
    assert np.array_equal(found, gguf.quants.dequantize(packed, stored))
    assert np.abs(found - values).max() < 0.2
    assert weights.type_of("one") == kind


def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    weights = StoredWeights([read_header(path)], [path])
    path.write_bytes(path.read_bytes()[:-100])
    assert weights.read("token_embd.weight").shape == (259, WIDTH)
    with pytest.raises(LoadFailed, match=r"tiny.gguf became shorter while it was read; get it again"):
        weights.read("blk.1.ffn_down.weight")  # the last one


def test_parts_of_a_model_are_read_alike(tmp_path: Path) -> None:
    whole = write_tiny_model(tmp_path / "tiny.gguf")
    write_tiny_model(tmp_path / "split.gguf", tensors_each=6)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) > 2
    one = StoredWeights([read_header(whole)], [whole])
    several = StoredWeights([read_header(part) for part in parts], parts)
    for place in layout_of(shape_of([read_header(part) for part in parts])):
        assert np.array_equal(one.read(place.source), several.read(place.source))


def test_ends_are_those_that_the_file_names_and_those_known_by_text(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    found = ends_of(read_header(path), path)
    assert found.begin == 0
    assert found.ends == (0, 2)  # <|endoftext|> by its text, <|im_end|> by both
