from __future__ import annotations

import threading
import time

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from brainwavlm_fast.ridge.parallel import run_parallel


def limits() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_results_and_news_come_in_order() -> None:
    def job(k: int) -> int:
        time.sleep(0.02 * (4 - k))
        return k

    news: list[int] = []
    assert run_parallel([lambda k=k: job(k) for k in range(4)], done=news.append) == [0, 1, 2, 3]
    assert news == [0, 1, 2, 3]
    assert run_parallel([]) == []


@pytest.mark.parametrize("n", [1, 2])
def test_each_job_has_one_thread_of_blas_and_the_callers_number_comes_back(n: int) -> None:
    with threadpool_limits(n, user_api="blas"):
        assert run_parallel([limits] * 4) == [{1}] * 4
        assert limits() == {n}


def test_as_many_run_at_once_as_blas_has_threads() -> None:
    meeting = threading.Barrier(2, timeout=10)
    with threadpool_limits(2, user_api="blas"):
        assert sorted(run_parallel([meeting.wait] * 2)) == [0, 1]
    with threadpool_limits(1, user_api="blas"):
        assert len(set(run_parallel([threading.get_ident] * 5))) == 1


def test_the_first_exception_is_raised_and_nothing_begins_after_it() -> None:
    begun: list[int] = []

    def job(k: int) -> None:
        begun.append(k)
        if k == 1:
            raise ValueError("job 1")
        time.sleep(0.01)

    with threadpool_limits(1, user_api="blas"), pytest.raises(ValueError, match="job 1"):
        run_parallel([lambda k=k: job(k) for k in range(200)])
    assert len(begun) < 100
