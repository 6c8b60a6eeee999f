"""From rows of a table to numbers, by the schema that all sites share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.input_kinds import TABLE_ROW, InputKind
from fedtl.data.row_numbers import FURTHEST, RowNumbers
from fedtl.data.rows import EMPTY_ROW, Row
from fedtl.data.schema import Schema
from fedtl.errors import UnreadableImageError

_BATCH = 64


class TablePreparation:
    """Turn rows into numbers; see :class:`~fedtl.data.row_numbers.RowNumbers`.

    Args:
        schema: The columns.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._numbers = RowNumbers(schema)

    @property
    def kind(self) -> InputKind:
        """Rows of tables."""
        return TABLE_ROW

    @property
    def one_shape(self) -> bool:
        """All rows give as many numbers."""
        return True

    def prepare(self, item: Row) -> NDArray[np.float32]:
        """Return a row's numbers, shape ``(width of the schema,)``.

        Raises:
            UnreadableImageError: It has no value in any column of the schema.
        """
        found = self._numbers.of(item)
        if found is None:
            raise UnreadableImageError(EMPTY_ROW)
        return found.astype(np.float32)

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return 0

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return _BATCH

    def collate(
        self, prepared: Sequence[NDArray[np.float32]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return the rows' numbers, shape ``(size, width)``."""
        rows = np.zeros((size, self.schema.width), np.float32)
        for place, row in enumerate(prepared):
            rows[place] = row
        return (torch.from_numpy(rows),)

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        # A list: the order of columns counts, which that of a mapping in JSON does not.
        return {"columns": list(self.schema.to_mapping().items()), "furthest": FURTHEST}
