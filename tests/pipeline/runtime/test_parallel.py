import threading

import pytest

from pipeline.runtime.parallel import prefetch


def test_results_come_in_order_from_several_threads():
    meet = threading.Barrier(4, timeout=30)

    def load(item):
        if item < 4:
            meet.wait()  # four threads must be here at once
        return -item

    assert list(prefetch(load, range(20), 4)) == [-item for item in range(20)]


def test_no_more_than_two_items_a_thread_wait():
    loaded = []
    results = prefetch(lambda item: loaded.append(item) or item, range(100), 2)
    assert next(results) == 0
    results.close()
    assert len(loaded) <= 5


def test_an_error_is_raised_in_its_turn():
    results = prefetch(lambda item: 1 // (item - 2), range(5), 2)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
