"""Patience: growing pauses, what servers ask for, and an end to it; and the limit on speed."""

import threading
import time

import pytest

from localllm.errors import DownloadFailed
from localllm.models.transfer.limiter import Limiter
from localllm.models.transfer.retry import Patience, RetryPolicy, Stopped, Troubled, is_retried, read_retry_after

NOW = 1_800_000_000.0  # 15 January 2027, 08:00 UTC


class Pauses(threading.Event):
    """An event that is never waited for, only asked how long one would."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return self.is_set()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("1" * 5000, None),
        ("١", None),
        ("Fri, 99 Jan 2027 08:01:00 GMT", None),
    ],
)
def test_when_to_come_again(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, NOW) == seconds


def test_which_statuses_may_change() -> None:
    retried = [status for status in range(200, 600) if is_retried(status)]
    assert retried == [408, 425, 429, *range(500, 600)]


def test_pauses_grow_up_to_a_limit_and_end() -> None:
    pauses = Pauses()
    patience = Patience(RetryPolicy(attempts=9), pauses, lambda: 0)
    for _ in range(8):
        patience.meet(Troubled("it is broken"), "hub.example", 0)
    with pytest.raises(DownloadFailed, match=r"hub\.example cannot deliver the file: it is broken \(9 attempts\)"):
        patience.meet(Troubled("it is broken"), "hub.example", 16_383)
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses.seconds, longest, strict=True))


def test_progress_begins_the_count_anew() -> None:
    pauses = Pauses()
    patience = Patience(RetryPolicy(attempts=2), pauses, lambda: 0)
    for _ in range(20):
        patience.meet(Troubled("cut"), "hub.example", 16_384)
    assert max(pauses.seconds) <= 0.5


def test_a_server_may_ask_for_a_longer_pause_but_not_for_any() -> None:
    pauses = Pauses()
    patience = Patience(RetryPolicy(), pauses, lambda: 0)
    patience.meet(Troubled("busy", 119.0), "hub.example", 0)
    assert pauses.seconds == [119.0]
    with pytest.raises(DownloadFailed, match="and asks to come again at 20") as caught:
        patience.meet(Troubled("busy", 121.0), "hub.example", 0)
    assert caught.value.retry_seconds == 121.0


def test_a_connection_that_is_one_too_many_leaves_in_silence() -> None:
    others = iter([0, 10**6])
    patience = Patience(RetryPolicy(attempts=2), Pauses(), lambda: next(others))
    patience.meet(Troubled("busy"), "hub.example", 0)
    with pytest.raises(Stopped):
        patience.meet(Troubled("busy"), "hub.example", 0)


def test_a_pause_ends_with_the_transfer() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Patience(RetryPolicy(first_seconds=1000.0), stop, lambda: 0).meet(Troubled("x"), "hub.example", 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the limiter takes for the time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_limit_is_kept_by_all_together(clock: list[float]) -> None:
    pauses = Pauses()
    limit = Limiter(1000)
    for _ in range(10):
        limit.take(100, pauses)
    assert pauses.seconds == pytest.approx([0.1 * count for count in range(1, 11)])


def test_idle_time_is_saved_up_for_a_moment_only(clock: list[float]) -> None:
    pauses = Pauses()
    limit = Limiter(1000)
    clock[0] = 3600.0
    limit.take(200, pauses)
    assert pauses.seconds == []
    limit.take(200, pauses)
    assert pauses.seconds == pytest.approx([0.15])


def test_portions_fit_the_limit() -> None:
    assert Limiter(None).portion(262_144, 4) == 262_144
    assert Limiter(10**9).portion(262_144, 4) == 262_144
    assert Limiter(160_000).portion(262_144, 4) == 10_000
    assert Limiter(1).portion(262_144, 4) == 1024


def test_no_limit_never_waits() -> None:
    pauses = Pauses()
    Limiter(None).take(10**12, pauses)
    assert pauses.seconds == []


def test_the_hour_is_told_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    words = time.strftime("%Y-%m-%d %H:%M", time.localtime(NOW + 3600))
    with pytest.raises(DownloadFailed, match=words):
        Patience(RetryPolicy(), Pauses(), lambda: 0).meet(Troubled("busy", 3600.0), "hub.example", 0)
