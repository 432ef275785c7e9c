"""Several processes on one computer, each on one thread, and what that computer is."""

import multiprocessing
import os
import platform
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

MAX_WORKERS = 61
"""As many processes as Windows waits for."""


@contextmanager
def worker_pool(workers: int, kept: str = "", *, uses_torch: bool = True) -> Iterator[ProcessPoolExecutor]:
    """So many processes in parallel, on one thread each, which end when the block is interrupted or fails.

    kept: what is not lost then, for the message. uses_torch: whether the work is PyTorch's, whose threads are set.
    """
    # Fresh processes: a forked one would inherit threads that are gone. One thread each: threads that wait for each
    # other are slower than processes that do not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, MAX_WORKERS), context, _begin_worker, (uses_torch,))
    try:
        yield pool
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and kept:
            from tqdm.auto import tqdm

            tqdm.write(f"Interrupted; {kept}, and the same command resumes.")
        for process in (pool._processes or {}).values():
            process.terminate()  # what they wrote is complete: the next run resumes from it
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(uses_torch: bool) -> None:
    """One thread per worker, and no worker that outlives a main process that was killed."""
    if uses_torch:
        import torch

        torch.set_num_threads(1)
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def machine() -> str:
    """What this was computed on, without its name."""
    import torch  # not at the top: reading and simulating ECGs do without it

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {device}, {versions}"
