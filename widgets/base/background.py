"""Work that takes seconds, done in a thread of its own once its user pauses, so that nothing waits for it."""

import atexit
import threading
import weakref
from collections.abc import Callable


class Background:
    """Does the newest job that it was asked for, after a pause; a job that was overtaken is not begun.

    A job is given a function that says whether it is still the newest: what it found is of use only then.
    """

    def __init__(self) -> None:
        self._asked, self._timer, self._one_at_a_time = 0, None, threading.Lock()
        atexit.register(_finish, weakref.ref(self))

    def ask(self, pause_s: float, job: Callable[[Callable[[], bool]], None]) -> None:
        """Do this job after a pause, unless another is asked for until then."""
        if self._timer is not None:
            self._timer.cancel()
        self._asked += 1
        self._timer = threading.Timer(pause_s, self._do, (self._asked, job))
        self._timer.daemon = True
        self._timer.start()

    def wait(self) -> None:
        """Wait until the newest job is done, as a notebook does that runs from its first cell to its last."""
        timer = None
        while timer is not self._timer:
            timer = self._timer
            timer.join()

    def _do(self, number: int, job: Callable[[Callable[[], bool]], None]) -> None:
        with self._one_at_a_time:
            if number == self._asked:
                job(lambda: number == self._asked)

    def stop(self) -> None:
        """Begin nothing more, and wait for what has begun."""
        self._asked += 1
        with self._one_at_a_time:
            pass


def _finish(background: "weakref.ref[Background]") -> None:
    """At the end of Python: PyTorch aborts the process if it is torn down while it computes."""
    if background() is not None:
        background().stop()
