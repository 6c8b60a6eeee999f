"""What a server says of everybody's classes is looked at before a client trains by it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, RecordDict

from fedtl.client.asked import Asked, class_counts_told
from fedtl.errors import FedtlError

CLASSES = 3


def _asked(config: dict[str, Any]) -> list[Asked]:
    message: Any = SimpleNamespace(content=RecordDict({"config": ConfigRecord(config)}))
    site: Any = SimpleNamespace(data=SimpleNamespace(classes=CLASSES))
    return [Asked(message, Context(0, 2, {}, RecordDict(), {}), site)]


def test_counts_are_taken_as_they_are() -> None:
    assert class_counts_told(_asked({"class-counts": [5, 0, 2]})).tolist() == [5, 0, 2]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class-counts": 7},
        {"class-counts": [1, 2]},
        {"class-counts": [1, 2, 3, 4]},
        {"class-counts": [1, -1, 3]},
        {"class-counts": [0, 0, 0]},
        {"class-counts": [1.0, 2.0, float("nan")]},
        {"class-counts": ["1", "2", "3"]},
        {"class-counts": []},
    ],
)
def test_others_are_refused_in_a_sentence(config: dict[str, Any]) -> None:
    with pytest.raises(FedtlError, match="how many examples there are of each of 3 classes"):
        class_counts_told(_asked(config))
