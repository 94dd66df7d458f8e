"""Limits of containers and services, in planted trees of control groups."""

from pathlib import Path

import pytest

from localllm.devices.container import memory_limit, quota_cores

GB = 10**9


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),  # a container of its own namespace
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
        ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "400000 100000"}, 0.5),  # the tightest of them
        ("0::/docker/1234", {"cpu.max": "200000 100000"}, 2.0),  # a path that only the host can see
        ("0::/../../a", {"a/cpu.max": "200000 100000"}, 2.0),
        ("5:cpu,cpuacct:/x\n0::/", {"cpu/x/cpu.cfs_quota_us": "300000", "cpu/x/cpu.cfs_period_us": "100000"}, 3.0),
        ("5:cpu,cpuacct:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_the_quota_of_all_groups(tmp_path: Path, groups: str, files: dict[str, str], cores: float | None) -> None:
    plant(tmp_path, files | {"own": groups})
    assert quota_cores(tmp_path, tmp_path / "own") == cores


def test_the_memory_of_a_container(tmp_path: Path) -> None:
    stat = f"anon 5\nfile 7\ninactive_file {1 * GB}\nactive_file 9\n"
    plant(
        tmp_path,
        {"own": "0::/", "memory.max": str(4 * GB), "memory.current": str(3 * GB), "memory.stat": stat},
    )
    limit = memory_limit(16 * GB, tmp_path, tmp_path / "own")
    assert limit is not None
    assert (limit.limit_bytes, limit.used_bytes, limit.free_bytes) == (4 * GB, 2 * GB, 2 * GB)
    assert memory_limit(4 * GB, tmp_path, tmp_path / "own") is None  # no less than the machine has


def test_the_group_that_leaves_the_least_counts(tmp_path: Path) -> None:
    files = {
        "own": "0::/a/b",
        "a/memory.max": str(4 * GB),
        "a/memory.current": str(4 * GB),
        "a/b/memory.max": str(2 * GB),
        "a/b/memory.current": "0",
    }
    plant(tmp_path, files)
    limit = memory_limit(16 * GB, tmp_path, tmp_path / "own")
    assert limit is not None
    assert (limit.limit_bytes, limit.free_bytes) == (4 * GB, 0)


@pytest.mark.parametrize(("value", "limit_bytes"), [("9223372036854771712", None), (str(GB), GB), ("-1", None)])
def test_groups_of_version_1(tmp_path: Path, value: str, limit_bytes: int | None) -> None:
    folder = "memory/docker/1"
    files = {f"{folder}/memory.limit_in_bytes": value, f"{folder}/memory.usage_in_bytes": "5"}
    plant(tmp_path, files | {"own": "4:memory:/docker/1\n0::/"})
    limit = memory_limit(16 * GB, tmp_path, tmp_path / "own")
    assert (limit and limit.limit_bytes) == limit_bytes


def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "none", tmp_path / "none") is None
    assert memory_limit(16 * GB, tmp_path / "none", tmp_path / "none") is None
