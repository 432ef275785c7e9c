"""Several processes on one computer, each on one thread, and what that computer is."""

import multiprocessing
import os
import platform
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

MAX_WORKERS = 61
"""As many processes as Windows waits for."""


def begin_worker() -> None:
    """One thread per worker, and no worker that outlives a main process that was killed."""
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def worker_pool(workers: int, kept: str) -> Iterator[ProcessPoolExecutor]:
    """So many processes side by side, which end when the block is interrupted or fails; kept: what is not lost then."""
    # Fresh processes: a forked one would inherit threads that are gone. One thread each: threads that wait for each
    # other are slower than processes that do not.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
    try:
        yield pool
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            tqdm.write(f"Interrupted; {kept}, and the same command goes on from there.")
        for process in (pool._processes or {}).values():
            process.terminate()  # what they wrote is whole: the next run goes on from it
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)
    begin_worker()


def machine() -> str:
    """What this was computed on, without its name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {device}, {versions}"
