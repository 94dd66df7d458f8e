"""What a program of ExecuTorch would take here, on this disk or on the hub."""

import pytest

from localllm.errors import DownloadFailed, LoadFailed
from localllm.models.pte.header import ProgramFacts
from localllm.runtime import program_outlook as module
from localllm.runtime.outlook import program_on_hub
from localllm.runtime.program_outlook import PROGRAM_BYTES, program_outlook
from tests.models.hub import Hub
from tests.models.pte.programs import program
from tests.models.repositories import EXPORTED, NAME, wanted_at

MIB = 2**20
FACTS = ProgramFacts(
    size_bytes=100 * MIB,
    methods=("forward",),
    constants={},
    context_tokens=1024,
    backends=("XnnpackBackend",),
    has_forward=True,
    planned_bytes=50 * MIB,
)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 2**30)


def test_it_takes_its_packed_weights_its_kv_and_the_program() -> None:
    found = program_outlook(FACTS, jobs=1)
    assert (found.engine, found.device) == ("executorch", "cpu")
    assert (found.forecast.fits, found.forecast.context_tokens, found.forecast.jobs) == (True, 1024, 1)
    assert found.forecast.footprint.total_bytes == 170 * MIB + PROGRAM_BYTES
    assert found.forecast.speed_class is None
    assert found.forecast.reasons[1] == "1024 tokens of context, one answer at a time"


def test_each_answer_at_once_takes_a_copy() -> None:
    found = program_outlook(FACTS, jobs=3, context=512).forecast
    assert (found.jobs, found.context_tokens) == (3, 512)
    assert found.footprint.total_bytes == 3 * 170 * MIB + PROGRAM_BYTES
    assert found.reasons[1] == "512 tokens of context for each of 3 answers at once"


@pytest.mark.parametrize(
    ("context", "jobs", "word"),
    [
        (1025, None, "it was exported for 1024 tokens; use --context 1024 or less"),
        (None, 9, "9 copies of this program need"),
        (None, 4, "1.1 GB are free"),  # packed, they are larger than the files
    ],
)
def test_what_does_not_fit_says_why(context: int | None, jobs: int | None, word: str) -> None:
    found = program_outlook(FACTS, context=context, jobs=jobs).forecast
    assert not found.fits
    assert word in found.reasons[0]


def test_a_program_may_not_say_what_it_holds() -> None:
    facts = ProgramFacts(size_bytes=MIB, methods=("forward",), constants={}, backends=("QnnBackend", "XnnpackBackend"))
    found = program_outlook(facts)
    assert (found.device, found.forecast.context_tokens) == ("QnnBackend", 0)
    assert "not known before it is loaded" in found.forecast.reasons[1]


@pytest.mark.usefixtures("here")
def test_of_one_on_the_hub_only_the_program_is_fetched(hub: Hub) -> None:
    hub.commit(NAME, EXPORTED | {"mobile/tiny.pte": program(weights=bytes(3 * MIB))})
    wanted = wanted_at(f"{NAME}:pte")
    hub.log.clear()
    facts = program_on_hub(wanted, offline=False)
    assert (facts.size_bytes, facts.context_tokens) == (wanted.files[0].expected.size_bytes, 512)
    assert [asked.range for asked in hub.gets()] == ["bytes=0-1048575"]
    with pytest.raises(DownloadFailed, match="offline"):
        program_on_hub(wanted, offline=True)


@pytest.mark.usefixtures("here")
def test_one_on_the_hub_that_is_none(hub: Hub) -> None:
    hub.commit(NAME, EXPORTED | {"mobile/tiny.pte": b"<html>"})
    with pytest.raises(LoadFailed, match="Several:pte: this is no ExecuTorch program"):
        program_on_hub(wanted_at(f"{NAME}:pte"), offline=False)
