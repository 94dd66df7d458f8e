"""The connections of one transfer, each in a thread, watched over by the thread that called."""

import threading
from collections.abc import Callable

from localllm.errors import DownloadFailed
from localllm.models.transfer.lane import Lane, Works
from localllm.models.transfer.retry import Stopped

_LOOK_SECONDS = 0.1
_FAREWELL_SECONDS = 2.0  # for a thread that looks up a name, which nothing can cut; it touches the part no more


class Crew:
    """Starts one connection, and the others when its first answer was right. The first error ends all of them."""

    def __init__(self, works: Works, work: Callable[[Lane], None], on_look: Callable[[], None]) -> None:
        self._works = works
        self._work = work
        self._on_look = on_look
        self._lanes: list[Lane] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def run(self, most_connections: int) -> None:
        """Work until all is done; calls `on_look` meanwhile. Raises the first error."""
        try:
            self._start()
            while any(thread.is_alive() for thread in self._threads) and not self._errors:
                if self._works.is_opened:
                    while len(self._threads) < most_connections and self._works.board.open_count:
                        self._start()
                self._look()
        finally:
            self._stop()
        if self._errors:
            raise self._errors[0]
        self._on_look()

    def _start(self) -> None:
        lane = Lane(self._works)
        thread = threading.Thread(target=self._run, args=(lane,), name=f"fetch-{len(self._threads)}", daemon=True)
        self._lanes.append(lane)
        self._threads.append(thread)
        thread.start()

    def _run(self, lane: Lane) -> None:
        try:
            self._work(lane)
        except Stopped:
            pass
        except BaseException as error:  # raised in the thread that called
            self._errors.append(error)
        finally:
            lane.wire.close()
            self._works.news.set()

    def _look(self) -> None:
        self._works.news.wait(_LOOK_SECONDS)
        self._works.news.clear()
        for lane in self._lanes:
            if lane.wire.pulse.is_stalled:
                lane.wire.cut()
        self._on_look()

    def _stop(self) -> None:
        self._works.stop.set()
        self._works.board.close()
        for lane in self._lanes:
            lane.wire.stop()
        for thread in self._threads:
            if thread.ident is not None:  # Ctrl-C may come while it is being started
                thread.join(_FAREWELL_SECONDS)


def run_crew(works: Works, work: Callable[[Lane], None], connections: int, on_look: Callable[[], None]) -> None:
    """Complete the part of `works` as to its bytes. Raises the first error."""
    Crew(works, work, on_look).run(connections)
    if not works.part.is_full:
        raise DownloadFailed("the connections ended before the file did; pull again: what has arrived is kept")
