import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from skanogan._runtime.threads import (
    at_most_threads,
    threads_beside_others,
    threads_to_score,
    threads_to_train,
)


@pytest.fixture
def four_threads():
    """Let torch use four threads in this process during a test."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def in_new_thread(function):
    with ThreadPoolExecutor(1) as new:
        return new.submit(function).result()


def threads_of_mkl():
    found = re.search(
        r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info()
    )
    return found and int(found[1])


@pytest.mark.usefixtures("four_threads")
def test_the_limit_holds_within_the_block_and_is_restored_after():
    with at_most_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_the_limit_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), at_most_threads(2):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_lower_limit_is_kept():
    with at_most_threads(8):
        assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_the_limit_holds_for_mkl():
    if threads_of_mkl() is None:
        pytest.skip("this torch has no MKL")
    with at_most_threads(2):
        assert threads_of_mkl() == 2
    assert threads_of_mkl() == 4


@pytest.mark.usefixtures("four_threads")
def test_other_threads_are_not_limited():
    with at_most_threads(2):
        assert in_new_thread(torch.get_num_threads) == 4


@pytest.mark.usefixtures("four_threads")
def test_overlapping_limits_of_two_threads_are_restored():
    entered = threading.Event()

    def second():
        with at_most_threads(1):
            seen = [torch.get_num_threads()]
            entered.set()
            first_has_left.wait(60)
            seen.append(torch.get_num_threads())
        return [*seen, torch.get_num_threads()]

    first_has_left = threading.Event()
    with ThreadPoolExecutor(1) as new:
        with at_most_threads(2):
            running = new.submit(second)
            entered.wait(60)
            assert torch.get_num_threads() == 2
        first_has_left.set()
        assert running.result() == [1, 1, 4]
    assert torch.get_num_threads() == 4
    assert in_new_thread(torch.get_num_threads) == 4


# How many ----------------------------------------------------------------------


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("row_shape", [(3,), (255,), (15, 15, 1)])
def test_small_models_of_small_rows_are_trained_on_one_thread(row_shape):
    assert threads_to_train(row_shape, 2**20) == 1
    assert threads_to_train(row_shape, 2**20 + 1) == 4


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("row_shape", [(256,), (16, 16, 1), (8, 8, 4)])
def test_large_rows_use_all_threads(row_shape):
    assert threads_to_train(row_shape, 1000) == 4
    assert threads_to_score(row_shape, 1000, 1) == 4


@pytest.mark.usefixtures("four_threads")
def test_few_small_rows_and_all_small_images_are_scored_on_one_thread():
    assert threads_to_score((20,), 1000, 1024) == 1
    assert threads_to_score((20,), 1000, 1025) == 4
    assert threads_to_score((8, 8, 1), 1000, 10**6) == 1


@pytest.mark.usefixtures("four_threads")
def test_a_thread_that_joblib_did_not_start_may_use_all_threads():
    assert in_new_thread(threads_beside_others) == 4
