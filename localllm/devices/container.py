"""What a container or a service may take of the machine: control groups of Linux, versions 1 and 2.

A process is in a group, which is in others; the tightest limit of them all holds. Files and their meaning:
https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from localllm.devices.sensors.sysfs import read_int, read_text

ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")  # cgroups(7): lines of number:controllers:path, of version 2 "0::path"


class MemoryLimit(Struct, frozen=True, kw_only=True):
    """Of the group that leaves the least."""

    limit_bytes: int
    used_bytes: int  # without what the kernel can drop at once: files that nobody has looked at lately

    @property
    def free_bytes(self) -> int:
        """What may still be taken."""
        return max(0, self.limit_bytes - self.used_bytes)


def quota_cores(root: Path = ROOT, own_groups: Path = OWN_GROUPS) -> float | None:
    """Cores that this process may keep busy, such as 1.5; None without a quota."""
    quotas = [
        *(_quota(*read_text(group / "cpu.max").partition(" ")[::2]) for group in _unified(root, own_groups)),
        *(
            _quota(read_text(group / "cpu.cfs_quota_us"), read_text(group / "cpu.cfs_period_us"))
            for group in _controlled(root, own_groups, "cpu")
        ),
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(total_bytes: int, root: Path = ROOT, own_groups: Path = OWN_GROUPS) -> MemoryLimit | None:
    """The limit that leaves the least; None without one. One of `total_bytes`, the machine's, or more is none."""
    limits = [
        *(
            _limit(group, "memory.max", "memory.current", "inactive_file", total_bytes)
            for group in _unified(root, own_groups)
        ),
        *(
            _limit(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", total_bytes)
            for group in _controlled(root, own_groups, "memory")
        ),
    ]
    return min((limit for limit in limits if limit is not None), key=lambda limit: limit.free_bytes, default=None)


def _unified(root: Path, own_groups: Path) -> Iterator[Path]:
    """The groups of version 2, from the process's own outwards."""
    for line in read_text(own_groups).splitlines():
        if line.startswith("0::"):
            yield from _outwards(root, line.removeprefix("0::"))
            return
    yield root


def _controlled(root: Path, own_groups: Path, controller: str) -> Iterator[Path]:
    """Those of version 1, which has a tree for each controller."""
    for line in read_text(own_groups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            yield from _outwards(root / controller, path)
            return
    yield root / controller


def _outwards(root: Path, path: str) -> Iterator[Path]:
    """Inside a container the path may be one that only the host can see; the root then is the container's own group."""
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    for length in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:length])


def _quota(quota: str, period: str) -> float | None:
    if not quota.isdigit() or not period.isdigit() or not int(period):  # "max", and -1 in version 1
        return None
    return int(quota) / int(period)


def _limit(group: Path, limit: str, used: str, droppable: str, total_bytes: int) -> MemoryLimit | None:
    limit_bytes, used_bytes = read_int(group / limit), read_int(group / used)
    if limit_bytes is None or used_bytes is None or not 0 < limit_bytes < total_bytes:
        return None
    kept_bytes = used_bytes - _statistic(read_text(group / "memory.stat"), droppable)
    return MemoryLimit(limit_bytes=limit_bytes, used_bytes=max(0, kept_bytes))


def _statistic(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
