"""Sub-detectors side by side: in order, on one core each, and as they would be one after the other."""

from collections.abc import Iterator
from threading import Barrier, current_thread

import pytest
import torch

from hcal_root_ad.judge.side_by_side import MANY, side_by_side


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_what_is_done_comes_in_order_and_at_once() -> None:
    both_there = Barrier(2, timeout=60)

    def wait(name: str, number: int) -> tuple[str, int, int]:
        both_there.wait()  # neither would get here if the other had to end first
        return name, number, torch.get_num_threads()

    assert list(side_by_side(wait, ["HB", "HE"], [1, 2], lumisections=MANY)) == [("HB", 1, 1), ("HE", 2, 1)]


def test_one_alone_begins_no_thread() -> None:
    assert list(side_by_side(lambda _: current_thread(), ["HE"], lumisections=MANY)) == [current_thread()]


def test_nor_do_several_for_little_work() -> None:
    where = side_by_side(lambda _: (current_thread(), torch.get_num_threads()), ["HB", "HE"], lumisections=MANY - 1)
    assert list(where) == [(current_thread(), 1)] * 2


def test_nor_where_one_thread_is_given() -> None:
    torch.set_num_threads(1)
    assert set(side_by_side(lambda _: current_thread(), ["HB", "HE"], lumisections=MANY)) == {current_thread()}


@pytest.mark.parametrize("works", [["HE"], ["HB", "HE"]])
def test_threads_of_torch_are_as_before_even_after_an_error(works: list[str]) -> None:
    def fail(_: str) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(side_by_side(fail, works, lumisections=MANY))
    assert torch.get_num_threads() == 2
