"""What `lamae` prints when it can be printed no more: its results are written all the same."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLOSED = (errno.EPIPE, errno.EINVAL)
"""The errors of a pipe that nobody reads, the second on Windows."""


class _LastingStream:
    """A stream that drops what is printed after its first error, which is kept."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what the stream still holds goes there as well
        os.close(nowhere)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Within it, no error of printing ends a command.

    At the end it raises such an error, unless the reader has left, as `head` does.
    """
    before = sys.stdout, sys.stderr
    streams = [_LastingStream(stream) for stream in before]
    sys.stdout, sys.stderr = streams  # type: ignore[assignment]
    try:
        yield
        for stream in streams:
            stream.flush()
            if stream.error is not None and stream.error.errno not in CLOSED:
                raise stream.error
    finally:
        sys.stdout, sys.stderr = before
