import threading

import pytest

from pipeline.runtime.threads import StoppedError, ThreadPool


def test_results_are_in_the_order_of_the_items():
    with ThreadPool(3) as pool:
        assert pool.map(lambda n: n * n, range(50)) == [n * n for n in range(50)]


def test_jobs_of_the_first_group_run_before_those_of_later_groups():
    order, gate = [], threading.Event()
    with ThreadPool(1) as pool:
        callers = [threading.Thread(target=pool.map, args=(lambda _: gate.wait(), [0]))]
        callers += [threading.Thread(target=pool.map, args=(order.append, [n] * 2, n)) for n in (2, 1)]
        for caller in callers:
            caller.start()
        while pool.count_waiting_jobs() < 4:
            pass
        gate.set()
        for caller in callers:
            caller.join()
    assert order == [1, 1, 2, 2]


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_an_error_of_a_job_is_raised_where_its_result_is_needed(error):
    def fail(n):
        raise error(n)

    with ThreadPool(2) as pool, pytest.raises(error):
        pool.map(fail, [1])


def test_after_stop_no_job_is_started():
    started = []
    with ThreadPool(1) as pool:
        pool.stop()
        with pytest.raises(StoppedError):
            pool.map(started.append, [1, 2])
    assert not started
