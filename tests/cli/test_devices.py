"""`localllm devices`: a row for all that an engine computes on, or could."""

import msgspec
import pytest

from localllm.engines.back_ends import BackEnd, Device, EngineReport
from localllm.engines.probe import check_engine
from localllm.runtime import probing
from tests.cli.shell import Shell

REPORTS = {
    "llama_cpp": EngineReport(
        engine="llama_cpp",
        is_usable=True,
        build="llama-cpp-python 0.3.36",
        has_gpu=True,
        back_ends=(
            BackEnd(
                name="CUDA",
                is_registered=True,
                is_usable=True,
                devices=(
                    Device(
                        name="CUDA0", description="A GPU", memory_free_bytes=5 * 10**9, memory_total_bytes=8 * 10**9
                    ),
                    Device(name="CUDA1", description="Another", memory_total_bytes=8 * 10**9),
                ),
            ),
            BackEnd(name="CPU", is_registered=True, is_usable=True, devices=(Device(name="CPU"),)),
        ),
    ),
    "executorch": EngineReport(
        engine="executorch", is_usable=False, reason="it is not installed", remedy='pip install "localllm[executorch]"'
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that have been looked at before."""

    def probed(names: tuple[str, ...]) -> list[EngineReport]:
        for name in names:
            check_engine(name)
        return [REPORTS[name] for name in names]

    monkeypatch.setattr(probing, "probe_engines", probed)


def test_what_there_is(shell: Shell) -> None:
    told = shell.ok("devices")
    head, table = told.out.split("\n\n")
    assert [line.split()[0] for line in head.splitlines()] == ["processor", "cores", "memory"]
    assert [line.rstrip() for line in table.splitlines()] == [
        "ENGINE      BACK END  USABLE  DEVICE          MEMORY                 REASON",
        "llama_cpp   CUDA      yes     CUDA0: A GPU    5.0 GB of 8.0 GB free",
        "llama_cpp   CUDA      yes     CUDA1: Another  8.0 GB",
        "llama_cpp   CPU       yes     CPU",
        "executorch            no                                             it is not installed",
    ]
    assert told.err == 'For executorch: pip install "localllm[executorch]"\n'


def test_one_engine(shell: Shell) -> None:
    told = shell.ok("devices", "llama_cpp", "llama_cpp")
    assert "executorch" not in told.out
    assert told.out.count("CUDA0") == 1
    assert told.err == ""


def test_what_would_change_it_is_said_for_each_back_end(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        BackEnd(name="GPU", is_registered=False, is_usable=False, reason="none here", remedy="another build"),
        BackEnd(name="vulkan", is_registered=True, is_usable=False, reason="no driver", remedy="a driver"),
        BackEnd(name="odd", is_registered=True, is_usable=False, reason="who knows \x1b[31m"),
    )
    monkeypatch.setitem(REPORTS, "executorch", EngineReport(engine="executorch", is_usable=True, back_ends=rows))
    told = shell.ok("devices", "executorch")
    assert told.err.splitlines() == [
        "For executorch on a GPU: another build",
        "For executorch on vulkan: a driver",
    ]
    assert "\x1b" not in told.out
    assert "who knows \\x1b[31m" in told.out


def test_for_scripts(shell: Shell) -> None:
    told = shell.ok("devices", "--json")
    assert told.err == ""
    assert told.json["cpu"].keys() == {"name", "cores", "memory_available_bytes"}
    assert told.json["cpu"]["cores"] >= 1
    assert msgspec.convert(told.json["engines"], list[EngineReport]) == list(REPORTS.values())


def test_an_engine_that_there_is_not(shell: Shell) -> None:
    told = shell("devices", "echo")
    assert (told.code, told.out) == (2, "")
    assert told.err == "localllm: there is no engine 'echo'; there are llama_cpp, executorch\n"


def test_it_explains_itself(shell: Shell) -> None:
    told = shell.ok("devices", "--help")
    assert "  localllm devices executorch" in told.out
    (line,) = [line for line in shell.ok("--help").out.splitlines() if line.split()[:1] == ["devices"]]
    assert not line.endswith("...")
