"""Streamed batches are right in whatever order a GPU does what it is free to reorder: shown on a simulated GPU.

A GPU works through each stream in order, but late, and one stream knows of another only through events. The simulated
one does as little as it must or, on one of its streams, as much as it may; what it may do wrongly, it does.
"""

import threading
from collections import deque
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.training import loader as feed
from lamae_toolkit.training.distributed import DistributedContext

SCHEDULES = ("all late", "copies early", "computation early")
LEFT_OUT = ("the computation waits for the copy", "the copy waits for the computation", "the thread waits for the copy")


class Event:
    def __init__(self, gpu, **_):
        self.gpu, self.recorded, self.done, self.stream = gpu, 0, 0, None

    def record(self, stream):
        self.recorded, self.stream = self.recorded + 1, stream
        stream.put(lambda number=self.recorded: setattr(self, "done", number))

    def synchronize(self):
        if self.gpu.left_out != "the thread waits for the copy":
            self.finish(self.recorded)

    def finish(self, number):
        with self.gpu.lock:
            while self.done < number:
                self.stream.advance()


class Stream:
    __class__ = torch.cuda.Stream  # for the type checker

    def __init__(self, gpu, waits, early):
        self.gpu, self.waits, self.early, self.work = gpu, waits, early, deque()
        self.device = torch.device("cuda", 3)

    def put(self, action, needs=None):
        with self.gpu.lock:
            self.work.append((action, needs))
            self.gpu.do_what_is_early()

    def wait_event(self, event):
        if self.gpu.left_out != self.waits and event.recorded:
            self.put(lambda: None, (event, event.recorded))

    def advance(self):
        """Do the next thing, after what it waits for on other streams."""
        action, needs = self.work[0]
        if needs is not None:
            needs[0].finish(needs[1])
        self.work.popleft()
        action()

    def synchronize(self):
        with self.gpu.lock:
            while self.work:
                self.advance()


class Memory:
    """Memory of the GPU."""

    def __init__(self, gpu, shape):
        self.gpu, self.values = gpu, torch.full(shape, -1, dtype=torch.int16)

    def copy_(self, source, non_blocking):
        assert non_blocking
        self.gpu.current().put(lambda: self.values.copy_(source))


class GPU:
    """Stands in for `torch` in the feed: what has to do with a GPU is here, all else is torch's own."""

    def __init__(self, schedule, left_out=None):
        self.left_out, self.lock, self.here = left_out, threading.RLock(), threading.local()
        self.computing = Stream(self, LEFT_OUT[0], schedule == "computation early")
        self.copying = Stream(self, LEFT_OUT[1], schedule == "copies early")
        self.cuda, self.results = self, []
        self.chosen_by: dict[int, object] = {}

    def __getattr__(self, name):
        return getattr(torch, name)

    def do_what_is_early(self):
        for stream in (self.computing, self.copying):
            while stream.early and stream.work:
                needs = stream.work[0][1]
                if needs is not None and needs[0].done < needs[1]:
                    break
                stream.advance()

    def empty(self, shape, dtype, device=None, pin_memory=False):
        return torch.empty(shape, dtype=dtype) if pin_memory else Memory(self, shape)

    def current(self):
        return getattr(self.here, "stream", self.computing)

    def current_stream(self, device):
        return self.current()

    def Stream(self, device):  # noqa: N802
        return self.copying

    def Event(self, **options):  # noqa: N802
        return Event(self, **options)

    def set_device(self, device):
        self.chosen_by[threading.get_ident()] = device

    @contextmanager
    def stream(self, stream):
        self.here.stream = stream
        try:
            yield
        finally:
            del self.here.stream

    def unpacked(self, memory):
        """A batch that will have its values when the computation comes to it."""
        batch = Batch(torch.zeros(memory.values.shape), torch.zeros(memory.values.shape[:2], dtype=torch.bool))
        self.current().put(lambda: batch.signal_mv.copy_(memory.values))
        return batch


def streamed(cohort, monkeypatch, gpu) -> list[bool]:
    """Of each batch, whether its values are those of the store once the GPU has done everything."""
    monkeypatch.setattr(feed, "torch", gpu)
    monkeypatch.setattr(feed, "unpacked", gpu.unpacked)
    shuffle, steps = feed.Shuffle(np.arange(40), 4, 0), range(25)
    processes = DistributedContext(0, 1, torch.device("cuda"))
    with feed.load_batches(cohort, shuffle, steps, processes, "streamed", progress=False) as batches:
        taken = list(batches)
    gpu.computing.synchronize()
    assert not gpu.copying.work, "memory was given back while a copy into it was under way"
    # The thread that reads is told its GPU: on its own it would open the first one as well.
    assert list(gpu.chosen_by.values()) == [gpu.copying.device] and threading.get_ident() not in gpu.chosen_by
    return [
        bool((batch.signal_mv.numpy() == cohort.signals[shuffle.rows_of(step)]).all())
        for step, batch in zip(steps, taken, strict=True)
    ]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_batches_are_right_in_every_order(cohort, monkeypatch, schedule):
    assert all(streamed(cohort, monkeypatch, GPU(schedule)))


@pytest.mark.parametrize(("schedule", "left_out"), list(zip(reversed(SCHEDULES), LEFT_OUT, strict=True)))
def test_without_any_one_of_the_waits_batches_are_wrong(cohort, monkeypatch, schedule, left_out):
    assert not all(streamed(cohort, monkeypatch, GPU(schedule, left_out)))


def test_a_loop_that_ends_early_leaves_no_copy_under_way(cohort, monkeypatch):
    gpu = GPU("all late")
    monkeypatch.setattr(feed, "torch", gpu)
    monkeypatch.setattr(feed, "unpacked", gpu.unpacked)
    processes = DistributedContext(0, 1, torch.device("cuda"))
    with feed.load_batches(cohort, feed.Shuffle(np.arange(40), 4, 0), range(25), processes, "streamed") as batches:
        next(batches)
    assert not gpu.copying.work
