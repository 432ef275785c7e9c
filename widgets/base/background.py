"""Slow work in a background thread, started once the user pauses (debounced)."""

import atexit
import threading
import weakref
from collections.abc import Callable


class Background:
    """Runs the newest job after a pause; a job that was replaced by a newer one is not started.

    A job is given a function that says whether it is still the newest: what it found is of use only then.
    """

    def __init__(self) -> None:
        self._asked, self._timer, self._one_at_a_time = 0, None, threading.Lock()
        atexit.register(_finish, weakref.ref(self))

    def ask(self, pause_s: float, job: Callable[[Callable[[], bool]], None]) -> None:
        """Run this job after a pause, unless a newer one is requested before."""
        if self._timer is not None:
            self._timer.cancel()
        self._asked += 1
        self._timer = threading.Timer(pause_s, self._do, (self._asked, job))
        self._timer.daemon = True
        self._timer.start()

    def wait(self) -> None:
        """Wait until the newest job is done, for a notebook that runs from top to bottom."""
        timer = None
        while timer is not self._timer:
            timer = self._timer
            timer.join()

    def _do(self, number: int, job: Callable[[Callable[[], bool]], None]) -> None:
        with self._one_at_a_time:
            if number == self._asked:
                job(lambda: number == self._asked)

    def stop(self) -> None:
        """Start no further job, and wait for the running one."""
        self._asked += 1
        with self._one_at_a_time:
            pass


def _finish(background: "weakref.ref[Background]") -> None:
    """At exit: PyTorch aborts the process if it is shut down while it computes."""
    if background() is not None:
        background().stop()
