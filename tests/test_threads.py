import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from skanogan._threads import (
    at_most_threads,
    threads_beside_others,
    threads_to_score,
    threads_to_train,
)


@pytest.fixture
def four():
    """A process whose threads begin with four; what it had is given back."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def in_new_thread(function):
    with ThreadPoolExecutor(1) as new:
        return new.submit(function).result()


def of_mkl():
    found = re.search(
        r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info()
    )
    return found and int(found[1])


@pytest.mark.usefixtures("four")
def test_threads_are_held_within_and_given_back_after():
    with at_most_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_threads_are_given_back_when_the_block_fails():
    with pytest.raises(ZeroDivisionError), at_most_threads(2):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_a_lower_limit_from_outside_stands():
    with at_most_threads(8):
        assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_products_of_matrices_are_held_as_well():
    if of_mkl() is None:
        pytest.skip("this torch has no MKL")
    with at_most_threads(2):
        assert of_mkl() == 2
    assert of_mkl() == 4


@pytest.mark.usefixtures("four")
def test_other_threads_are_not_held():
    with at_most_threads(2):
        assert in_new_thread(torch.get_num_threads) == 4


@pytest.mark.usefixtures("four")
def test_threads_that_hold_in_overlapping_turns_give_back_what_was():
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


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("row_shape", [(3,), (255,), (15, 15, 1)])
def test_small_rows_are_trained_on_by_one_thread(row_shape):
    assert threads_to_train(row_shape, 2**20) == 1
    assert threads_to_train(row_shape, 2**20 + 1) == 4


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("row_shape", [(256,), (16, 16, 1), (8, 8, 4)])
def test_large_rows_are_trained_on_by_all_threads(row_shape):
    assert threads_to_train(row_shape, 1000) == 4
    assert threads_to_score(row_shape, 1000, 1) == 4


@pytest.mark.usefixtures("four")
def test_few_small_rows_are_scored_by_one_thread():
    assert threads_to_score((20,), 1000, 1024) == 1
    assert threads_to_score((20,), 1000, 1025) == 4
    assert threads_to_score((8, 8, 1), 1000, 10**6) == 1


@pytest.mark.usefixtures("four")
def test_a_thread_of_ones_own_may_use_all():
    assert in_new_thread(threads_beside_others) == 4
