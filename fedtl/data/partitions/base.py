"""What a partition is: who holds which training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.groups import counted, units_of
from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.options import Options

if TYPE_CHECKING:
    from fedtl.config import RunConfig

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What is dealt to clients: training rows, or whole groups of them.

    Attributes:
        labels: Class of each, in the order in which they are dealt, shape ``(n,)``; every number
            below ``label_count`` occurs. A group has its most frequent class.
        label_count: Number of different classes.
        counted: What one of them is, for messages.
    """

    labels: NDArray[np.int64]
    label_count: int
    counted: str = "training rows"


class Partition:
    """One way in which data becomes clients.

    A subclass writes :meth:`deal`; one that has its own clients, or is about more than classes,
    writes :meth:`parts` instead.

    Args:
        config: The run; its seed and number of clients count, and the options of this class.
        argument: What stands after the colon of ``partition = name:ARGUMENT``; may be empty.
    """

    options = Options()

    def __init__(self, config: RunConfig, argument: str = "") -> None:
        self.config = config
        self.argument = argument

    def deal(self, units: Units) -> list[Rows]:
        """Return for every client the positions in ``units`` that it gets, each once.

        Whatever is drawn should come from ``fedtl.determinism.generator(self.config.seed, ...)``.

        Raises:
            UsageError: They cannot be dealt as asked.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither deal nor parts")

    def parts(self, dataset: Dataset) -> tuple[list[Rows], list[str]]:
        """Return the training rows of each client, and the clients' names.

        The rows are shuffled by the seed before they are dealt, so that the order of the data does
        not matter. Groups go to clients whole.

        Raises:
            UsageError: The data cannot be split as asked.
        """
        check_clients(dataset, self.config.clients)
        units = units_of(dataset.training, dataset.labels, dataset.groups)
        order = generator(self.config.seed, "partition order").permutation(len(units))
        # A partition sees the labels that occur, numbered without gaps.
        present, labels = np.unique(units.labels[order], return_inverse=True)
        told = counted(dataset, "training rows")
        dealt = self.deal(Units(labels.astype(np.int64), len(present), told))
        return numbered([units.rows_of(order[part]) for part in dealt])


def check_clients(dataset: Dataset, clients: int) -> None:
    """Refuse a number of clients among which the training rows cannot be dealt.

    Raises:
        UsageError: There is no client, or there are more of them than training rows (or groups).
    """
    rows = len(units_of(dataset.training, dataset.labels, dataset.groups))
    if clients < 1:
        raise UsageError(f"--clients is {clients}, but must be at least 1")
    if clients > rows:
        raise UsageError(
            f"{clients} clients cannot share {rows} {counted(dataset, 'training rows')}; ask for "
            f"at most {rows} clients"
        )


def numbered(parts: list[Rows]) -> tuple[list[Rows], list[str]]:
    """Return clients' rows, and names that are numbers."""
    return parts, [f"client-{number}" for number in range(len(parts))]


def owned(owner: NDArray[np.int64], clients: int) -> list[Rows]:
    """Return the positions that each client owns, rising."""
    ends = np.cumsum(np.bincount(owner, minlength=clients))
    return np.split(np.argsort(owner, kind="stable"), ends[:-1])


class Sized(Partition):
    """Random parts whose size grows with the client's number."""

    def growth(self, number: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the size that the client of a number has, in any unit."""
        raise NotImplementedError

    def deal(self, units: Units) -> list[Rows]:
        """See :class:`Partition`."""
        rows, clients = len(units.labels), self.config.clients
        # e to the number of clients overflows; the sizes that follow are then refused as well.
        with np.errstate(all="ignore"):
            shares = self.growth(np.linspace(1, clients, clients))
            sizes = np.floor(shares / shares.sum() * rows)
        # The rest joins the largest part. What overflowed is no number, and so not at least 1.
        sizes[-1] += rows - sizes.sum()
        if not sizes.min() >= 1:
            raise UsageError(
                f"--partition {self.config.partition} leaves the first of {clients} clients "
                f"without any of {rows} {units.counted}; lower --clients"
            )
        return np.split(np.arange(rows), np.cumsum(sizes.astype(np.int64))[:-1])
