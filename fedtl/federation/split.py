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


@dataclass(frozen=True, eq=False)
class Split:
    """Who holds what: row numbers of the data set.

    Attributes:
        names: Name of each client.
        train: Training rows of each client.
        held_out: Held-out rows of each client.
        test: The test split or held-out test part, of the sites that take part; may be empty.
        unseen: All inputs of the site that does not; empty where all do.
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
    def from_json(cls, text: str, dataset: Dataset, where: Path) -> Split:
        """Return the split that :meth:`to_json` wrote.

        Raises:
            FedtlError: It is a split of other data.
        """
        content = json.loads(text)
        if content["digest"] != _digest(dataset):
            raise FedtlError(
                f"The data is not what it was when {where} was written; "
                "a resumed run needs the same."
            )
        clients: list[dict[str, Any]] = content["clients"]
        return cls(
            names=[client["name"] for client in clients],
            train=[np.array(client["train"], np.int64) for client in clients],
            held_out=[np.array(client["held-out"], np.int64) for client in clients],
            test=np.array(content["test"], np.int64),
            unseen=np.array(content.get("unseen", []), np.int64),
        )


def _digest(dataset: Dataset) -> str:
    """Return the SHA-256 of the inputs' names and labels."""
    digest = hashlib.sha256("\x00".join(dataset.keys).encode("utf-8", "surrogateescape"))
    digest.update(dataset.labels.tobytes())
    return digest.hexdigest()
