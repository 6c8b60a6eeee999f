"""What several inputs are made of is loaded once, whichever thread asks first."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedtl.data.loaded_once import LoadedOnce
from fedtl.errors import UnreadableImageError


def test_each_is_loaded_once_by_many_threads_and_forgotten_after_its_last_use() -> None:
    asked: Counter[int] = Counter()

    def load(number: int) -> list[int]:
        asked[number] += 1
        time.sleep(0.002)  # so that others ask meanwhile
        return [number]

    uses = [number for number in range(12) for _ in range(5)]
    once = LoadedOnce(load, uses)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(once, uses))
    assert [one[0] for one in found] == uses
    assert asked == dict.fromkeys(range(12), 1)
    assert not once._held
    once(3)
    assert asked[3] == 2


def test_what_cannot_be_loaded_is_tried_once_and_told_to_all() -> None:
    tried = []

    def load(number: int) -> int:
        tried.append(number)
        raise UnreadableImageError("cut short")

    once = LoadedOnce(load, [7, 7, 7])
    for _ in range(3):
        with pytest.raises(UnreadableImageError, match="cut short"):
            once(7)
    assert tried == [7]
