"""The order of the tests: those that mostly wait for other processes start first."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Two processes share the tests, a file at a time; begun last, this one would be waited for.
    items.sort(key=lambda item: item.path.name != "test_three_ways.py")
