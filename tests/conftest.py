"""What all tests share: their order, and one import of flwr-datasets for many partitions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Two processes share the tests, a file at a time; begun last, this one would be waited for.
    items.sort(key=lambda item: item.path.name != "test_three_ways.py")


class _InThisProcess(ThreadPoolExecutor):
    """Takes the place of a process pool."""

    def __init__(self, workers: int, **options: Any) -> None:
        super().__init__(workers)


@pytest.fixture(scope="session", autouse=True)
def _partitions_in_this_process() -> Iterator[None]:
    """Draw partitions here: a child process would import flwr-datasets, seconds, for every run.

    Commands that tests start as processes of their own draw theirs in a child, as users' do.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtl.data.partition_process.ProcessPoolExecutor", _InThisProcess)
        yield
