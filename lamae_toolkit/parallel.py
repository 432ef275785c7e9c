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
"""The largest number of processes that Windows can wait for."""


@contextmanager
def worker_pool(workers: int, kept: str = "", *, uses_torch: bool = True) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes with one thread each, which end when the block is interrupted or fails.

    kept: what an interruption does not lose, for the message. uses_torch: whether PyTorch's threads must be limited.
    """
    # Spawned, since a forked process would inherit locks of threads that no longer exist. One thread each, since
    # threads that synchronize are slower than independent processes.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, MAX_WORKERS), context, _begin_worker, (uses_torch,))
    try:
        yield pool
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and kept:
            from tqdm.auto import tqdm

            tqdm.write(f"Interrupted; {kept}, and the same command resumes.")
        for process in (pool._processes or {}).values():
            process.terminate()  # files that they wrote are complete: the next run resumes from them
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(uses_torch: bool) -> None:
    """One thread per worker; the worker ends with its main process, even if that is killed."""
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
    """System, hardware and versions of this machine, without its name."""
    import torch  # imported here: reading and simulating ECGs do not need it

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {device}, {versions}"
