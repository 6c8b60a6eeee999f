"""Who holds what, drawn once and written down: a resumed run reads it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.errors import FedtlError
from fedtl.json_file import MOST_BYTES, read_json

# A row's number and what separates it from the next, in as many clients as hold it.
_BYTES_PER_ROW = 32


@dataclass(frozen=True, eq=False)
class Split:
    """Who holds what: row numbers of the data set.

    Attributes:
        names: Name of each client.
        train: Training rows of each client.
        held_out: Held-out rows of each client.
        test: The test split or held-out test part, of the sites that take part; may be empty.
        unseen: All inputs of the holdout-site; empty without one.
    """

    names: list[str]
    train: list[NDArray[np.int64]]
    held_out: list[NDArray[np.int64]]
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]

    def renamed(self, names: list[str]) -> Split:
        """Return the same split of clients that are called otherwise."""
        return replace(self, names=names)

    def to_json(self, dataset: Dataset) -> str:
        """Return the split as JSON; ``digest`` names the data it is a split of."""
        clients = [
            {"name": name, "train": train.tolist(), "held-out": held_out.tolist()}
            for name, train, held_out in zip(self.names, self.train, self.held_out, strict=True)
        ]
        content = {"digest": _digest(dataset), "clients": clients, "test": self.test.tolist()}
        if len(self.unseen):
            content["unseen"] = self.unseen.tolist()
        return json.dumps(content)

    @classmethod
    def from_file(cls, path: Path, dataset: Dataset) -> Split:
        """Return the split that :meth:`to_json` wrote.

        Raises:
            FedtlError: It is a split of other data, or the file is damaged.
        """
        count = len(dataset.labels)
        content = read_json(path, MOST_BYTES + count * _BYTES_PER_ROW)
        try:
            if content["digest"] != _digest(dataset):
                raise FedtlError(
                    f"The data is not what it was when {path} was written; "
                    "a resumed run needs the same."
                )
            clients: list[dict[str, Any]] = content["clients"]
            return cls(
                names=[str(client["name"]) for client in clients],
                train=[_rows(client["train"], count) for client in clients],
                held_out=[_rows(client["held-out"], count) for client in clients],
                test=_rows(content["test"], count),
                unseen=_rows(content.get("unseen", []), count),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FedtlError(f"{path} is damaged ({error}), so the run cannot go on.") from error


def _rows(numbers: list[int], count: int) -> NDArray[np.int64]:
    """Return row numbers of data that has ``count`` rows."""
    if not all(type(number) is int and 0 <= number < count for number in numbers):
        raise ValueError("it names rows that the data does not have")
    return np.array(numbers, np.int64)


def _digest(dataset: Dataset) -> str:
    """Return the SHA-256 of the inputs' names and labels."""
    digest = hashlib.sha256("\x00".join(dataset.keys).encode("utf-8", "surrogateescape"))
    digest.update(dataset.labels.tobytes())
    return digest.hexdigest()
