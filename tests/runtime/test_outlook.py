"""What to expect of a model: from the beginning of its first file alone, wherever that is."""

import random
from pathlib import Path

import msgspec
import pytest

from localllm.errors import DownloadFailed, LoadFailed
from localllm.models.gguf.header import GgufHeader, read_header
from localllm.models.hub import peek
from localllm.models.local import LocalModel
from localllm.models.on_disk import from_manifest, from_path
from localllm.models.storage.store import Store
from localllm.models.wanted import Wanted
from localllm.runtime import outlook
from localllm.runtime.outlook import header_on_hub, headers_of, outlook_of, shape_of
from tests.models.cards import INDEX
from tests.models.gguf.headers import ARCHITECTURE, WEIGHT, gguf, strings
from tests.models.hub import Hub
from tests.models.pte.programs import program
from tests.models.pulls import wanted_of
from tests.models.repositories import NAME, bring_from, checkpoint, split_model, wanted_at

pytestmark = pytest.mark.usefixtures("here")

MIB = 2**20


def asked_bytes(hub: Hub) -> list[int]:
    """The lengths of the ranges that were asked for."""
    ranges = [(asked.range or "").removeprefix("bytes=").split("-") for asked in hub.gets()]
    return [int(last) - int(first) + 1 for first, last in ranges]


def large_model(vocabulary: int) -> bytes:
    """A model whose header has so many tokens, with weights that nobody needs to see."""
    names = [f"token number {number:012}" for number in range(vocabulary)]
    pairs = [ARCHITECTURE, strings("tokenizer.ggml.tokens", names)]
    return gguf(pairs, [WEIGHT], data_bytes=20 * MIB)


def put(hub: Hub, data: bytes) -> Wanted:
    hub.commit(NAME, {"tiny-F32.gguf": data})
    return wanted_at(f"{NAME}:F32")


def test_of_a_large_file_only_the_beginning_is_fetched(hub: Hub, data: bytes) -> None:
    wanted = put(hub, data + random.Random(0).randbytes(20 * MIB))
    header = header_on_hub(wanted, offline=False)
    assert len(header.tensors) == 21
    assert asked_bytes(hub) == [MIB]


def test_a_small_file_is_asked_for_no_more_than_it_has(hub: Hub, data: bytes) -> None:
    header_on_hub(put(hub, data), offline=False)
    assert asked_bytes(hub) == [len(data)]


def test_a_large_vocabulary_takes_a_second_look(hub: Hub) -> None:
    wanted = put(hub, large_model(100_000))
    header = header_on_hub(wanted, offline=False)
    assert 3 * MIB < header.data_offset < 8 * MIB
    assert asked_bytes(hub) == [MIB, 8 * MIB]


def test_a_header_without_end_is_not_read(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peek, "MOST_BYTES", 2 * MIB)
    wanted = put(hub, large_model(100_000))
    with pytest.raises(LoadFailed, match=f"the header of {NAME}:F32 is longer than 2 MiB"):
        header_on_hub(wanted, offline=False)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"<html>log in</html>" * 100_000, LoadFailed, "is no GGUF file"),
        (b"GGUF\3\0\0\0", DownloadFailed, "breaks off in the header"),
        (b"GGUF" + bytes(MIB), LoadFailed, f"{NAME}:F32: .*version"),
    ],
)
def test_what_is_no_header(
    hub: Hub, data: bytes, body: bytes, error: type[LoadFailed | DownloadFailed], words: str
) -> None:
    wanted = put(hub, data + bytes(MIB))
    hub.faults.body = body
    with pytest.raises(error, match=words):
        header_on_hub(wanted, offline=False)


def test_what_has_no_header_on_the_hub(hub: Hub, data: bytes) -> None:
    hub.commit(NAME, checkpoint())
    for wanted in (wanted_at(NAME), wanted_of(data, INDEX)):
        with pytest.raises(LoadFailed, match="not known before it is pulled"):
            header_on_hub(wanted, offline=False)


def test_offline_nothing_is_asked(hub: Hub, data: bytes) -> None:
    wanted = put(hub, data)
    hub.log.clear()
    with pytest.raises(DownloadFailed, match="offline"):
        header_on_hub(wanted, offline=True)
    assert hub.log == []


def split_on_disk(hub: Hub, store: Store) -> LocalModel:
    hub.commit(NAME, split_model())
    return from_manifest(bring_from(store, NAME), store)


def test_a_split_model_on_disk_is_looked_at_whole(hub: Hub, store: Store, tiny_model: Path) -> None:
    model = split_on_disk(hub, store)
    headers = headers_of(model)
    assert len(headers) == 3
    whole = outlook_of([read_header(tiny_model)], size_bytes=tiny_model.stat().st_size)
    found = outlook_of(headers, size_bytes=model.size_bytes)
    assert found.facts.parameters == whole.facts.parameters
    assert found.forecast.footprint == whole.forecast.footprint


def test_of_a_split_model_on_the_hub_the_first_part_tells_enough(hub: Hub, tiny_model: Path) -> None:
    hub.commit(NAME, split_model())
    wanted = wanted_at(NAME)
    hub.log.clear()
    header = header_on_hub(wanted, offline=False)
    assert len(hub.gets()) == 1
    found = outlook_of([header], size_bytes=wanted.size_bytes)
    whole = read_header(tiny_model)
    assert found.facts.split_count == 3
    assert found.forecast.footprint.weights_bytes == wanted.size_bytes
    assert found.forecast.footprint.kv_bytes == outlook_of([whole], size_bytes=1).forecast.footprint.kv_bytes


def test_a_first_part_without_weights_is_estimated_by_its_type(tiny_model: Path) -> None:
    """As `gguf-split --no-tensor-first-split` makes it."""
    header: GgufHeader = read_header(tiny_model)
    metadata = {**header.metadata, "split.count": 3, "split.no": 0, "general.file_type": 7}
    first = msgspec.structs.replace(header, metadata=metadata, tensors=())
    facts = outlook_of([first], size_bytes=8_500_000).facts
    shape = shape_of(facts, [first], 8_500_000)
    assert facts.quant == "Q8_0"
    assert (shape.weights_bytes, shape.parameters) == (8_500_000, 8_000_000)


def test_what_cannot_fit_says_what_would(
    hub: Hub, data: bytes, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    monkeypatch.setattr(outlook, "available_memory_bytes", lambda: 200 * MIB)
    wanted = put(hub, data)
    header = header_on_hub(wanted, offline=False)
    small = outlook_of([header], size_bytes=wanted.size_bytes)
    assert small.forecast.fits
    huge = msgspec.structs.replace(
        header, metadata={**header.metadata, "split.count": 2, "split.no": 0}, tensors=header.tensors
    )
    found = outlook_of([huge], size_bytes=50 * 2**30)
    assert not found.forecast.fits
    assert "are free" in found.forecast.reasons[0]
    assert found.forecast.reasons[1].startswith("what fits")


@pytest.mark.parametrize(("context", "jobs"), [(256, 2), (512, 1), (None, None)])
def test_context_and_answers_at_once_are_as_asked(tiny_model: Path, context: int | None, jobs: int | None) -> None:
    found = outlook_of([read_header(tiny_model)], size_bytes=1, context=context, jobs=jobs).forecast
    assert context in {None, found.context_tokens}
    assert jobs in {None, found.jobs}


def test_only_gguf_models_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "x.pte"
    path.write_bytes(program())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadFailed, match="is no GGUF model"):
        headers_of(from_path(str(path)))
