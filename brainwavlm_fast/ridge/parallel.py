"""Jobs on threads of their own, each with one thread of BLAS and of the core.

NumPy's steps between two matrix products run on one thread; several jobs side by side keep every thread busy. A job
computes the same numbers wherever it runs, so results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")
Done = Callable[[int], object]


def run_parallel(jobs: Sequence[Callable[[], Result]], *, done: Done = lambda number: None) -> list[Result]:
    """Run the jobs, as many at once as BLAS has threads; their results in their order.

    ``done`` is told the number of each job, in order, once it and all before it are finished. The first exception of
    a job is raised; jobs that have not begun by then never do.
    """
    pools = ThreadpoolController()
    blas = [int(pool["num_threads"]) for pool in pools.info() if pool["user_api"] == "blas"]
    with (
        pools.limit(limits=1, user_api="blas"),
        # OpenMP's number of threads belongs to the thread that sets it: each worker sets it once, for itself
        ThreadPoolExecutor(
            max(1, min(max(blas, default=1), len(jobs))),
            initializer=lambda: pools.select(user_api="openmp").limit(limits=1),
        ) as workers,
    ):
        running = [workers.submit(job) for job in jobs]
        try:
            return run_serial([job.result for job in running], done=done)
        finally:
            for job in running:
                job.cancel()


def run_serial(jobs: Sequence[Callable[[], Result]], *, done: Done = lambda number: None) -> list[Result]:
    """Run the jobs one after the other, for jobs that use all threads themselves."""
    results = []
    for number, job in enumerate(jobs):
        results.append(job())
        done(number)
    return results
