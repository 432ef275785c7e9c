"""Tasks on the workers of Dask (distributed), on any number of machines."""

import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from lamae_toolkit._lazy import missing_extra
from lamae_toolkit.errors import ECGError

CONNECT_S, WORKERS_S, POLL_S = 30.0, 120.0, 1.0
"""How long a scheduler may take to answer, how long it may have no worker, and how often this is checked."""

RESUMES = "finished parts are kept, and the same command resumes"


def run_on_cluster(task: Callable[..., int], jobs: Iterator[tuple], scheduler: str) -> Iterator[tuple[tuple, int]]:
    """Run `task(*job)` for each job on the workers of a Dask scheduler; yields each finished job and its result.

    scheduler: its address, such as tcp://10.0.0.1:8786. A job whose worker dies runs again on another one. Raises
    ECGError if nothing answers at the address, if there is no worker for two minutes, or if the scheduler is lost;
    MissingExtraError without the package distributed.
    """
    try:
        from distributed import Client, KilledWorker, wait
    except ModuleNotFoundError as error:
        raise missing_extra("Preparing on several machines (--scheduler)", error) from error
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError, TypeError, ImportError) as error:  # what an address can be wrong by; also a timeout
        raise ECGError(
            f"No Dask scheduler answers at {scheduler}; start one with `dask scheduler` and give the address that it"
            " prints, such as tcp://10.0.0.1:8786."
        ) from error
    running: dict[Any, tuple] = {}
    lost = ECGError(f"The Dask scheduler at {scheduler} was lost; {RESUMES} once there is one.")
    last_worker, more = time.monotonic(), True
    try:
        while more or running:
            try:
                threads = sum(client.nthreads().values())
                while more and len(running) < 2 * threads:
                    job = next(jobs, None)
                    more = job is not None
                    if job is not None:
                        running[client.submit(task, *job, pure=False)] = job
                finished = []
                with suppress(TimeoutError):
                    if running:
                        finished = list(wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
                    elif more:
                        time.sleep(POLL_S)
            except (OSError, CancelledError) as error:
                raise lost from error
            last_worker = time.monotonic() if threads else last_worker
            if time.monotonic() - last_worker > WORKERS_S:
                raise ECGError(
                    f"The Dask scheduler at {scheduler} has no worker; start some with `dask worker {scheduler}`:"
                    f" {RESUMES}."
                )
            for future in finished:
                if future.cancelled():
                    raise lost
                try:
                    yield running.pop(future), future.result()
                except KilledWorker as error:
                    raise ECGError(
                        f"Several workers died in the same task, of memory perhaps; see their logs: {RESUMES}."
                    ) from error
                except ModuleNotFoundError as error:
                    raise ECGError(
                        f"A worker lacks the package {error.name}; install the same packages everywhere: {RESUMES}."
                    ) from error
    finally:
        with suppress(OSError, CancelledError):
            client.close(timeout=POLL_S)
