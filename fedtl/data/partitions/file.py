"""Clients as a file lists them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.groups import parted_group
from fedtl.data.partitions.base import Partition, Rows, numbered
from fedtl.errors import UsageError
from fedtl.json_file import MOST_BYTES


class File(Partition):
    """A JSON file is a list of lists of row numbers; a row in no list is left out."""

    def parts(self, dataset: Dataset) -> tuple[list[Rows], list[str]]:
        """See :class:`Partition`."""
        return numbered(_from_file(Path(self.argument).expanduser(), dataset))


PARTITION = File


def _from_file(path: Path, dataset: Dataset) -> list[Rows]:
    most = MOST_BYTES + 32 * len(dataset)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UsageError(
                f"--partition file: {path} has more than {most:,} bytes, which is more than a list "
                "of the data's rows has"
            )
        lists = json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--partition file: {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, MemoryError):
        raise UsageError(f"--partition file: {path} is not valid JSON") from None
    if not isinstance(lists, list) or not lists or not all(isinstance(p, list) for p in lists):
        raise UsageError(f"--partition file: {path} must hold a list of lists of row numbers")
    parts = []
    owner = np.full(len(dataset), -1, dtype=np.int64)
    for client, numbers in enumerate(lists):
        where = f"--partition file: {path}: list {client} (counting from 0)"
        if not numbers:
            raise UsageError(f"{where} is empty, but every client needs a row")
        for row in numbers:
            # JSON's true is an int to Python.
            if not isinstance(row, int) or isinstance(row, bool):
                raise UsageError(f"{where} holds {json.dumps(row)}, which is not a row number")
            if not 0 <= row < len(dataset):
                raise UsageError(
                    f"{where} holds row {row}, but rows are numbered from 0 to {len(dataset) - 1}"
                )
            if dataset.test[row]:
                raise UsageError(f"{where} holds row {row}, which belongs to the test split")
            if dataset.unseen is not None and dataset.unseen[row]:
                raise UsageError(f"{where} holds row {row}, which belongs to the holdout-site")
            if owner[row] >= 0:
                raise UsageError(f"{where} holds row {row}, which list {owner[row]} already has")
            owner[row] = client
        parts.append(np.sort(np.array(numbers, dtype=np.int64)))
    if dataset.groups is not None:
        named = np.flatnonzero(owner >= 0)
        parted = parted_group(dataset.groups[named], owner[named])
        if parted is not None:
            row = int(named[parted])
            raise UsageError(
                f"--partition file: {path}: list {owner[row]} (counting from 0) holds row {row} of "
                f"group {dataset.groups[row]}, but other rows of the group are in another list; "
                "give the whole group to one client"
            )
    return parts
