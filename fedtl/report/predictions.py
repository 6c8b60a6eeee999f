"""A head's predictions for new inputs: as a table of 80 columns, as CSV and as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.csv_cells import csv_text
from fedtl.errors import UnwrittenError
from fedtl.whole_file import write_atomically
from fedtl.wording import percent, shortened

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 80
_CLASS_WIDTH = 15
_GAP = 2
_PREDICTED, _VALUE, _RUNNER_UP_VALUE = len("Predicted"), len("Probability"), len("-12.345")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Every class's value for n inputs.

    Attributes:
        unit: What an input is: ``image``, ``text``, ``recording``, or ``row`` of embeddings.
        names: One per input.
        classes: The K class names.
        measure: The meaning of the values.
        values: Shape ``(n, K)``; larger is likelier.
    """

    unit: str
    names: Sequence[str]
    classes: Sequence[str]
    measure: Literal["probability", "score"]
    values: NDArray[np.float64]

    def table(self, top: int) -> Table:
        """Return a table of 80 columns, a row per input.

        Args:
            top: How many classes of each input to show, best first: the predicted one, then the
                runners-up with their values, one below another.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
        table.add_column(self.unit.capitalize(), no_wrap=True)
        table.add_column("Predicted", no_wrap=True)
        table.add_column(self.measure.capitalize(), justify="right", no_wrap=True)
        if top > 1:
            table.add_column("Runner-up" if top == 2 else "Runners-up", no_wrap=True)
        name_width, class_width = self._widths(top)
        for name, (best, *others) in self._ranked(top):
            cells = [shortened(name, name_width), shortened(best[0], class_width), self._of(best)]
            if top > 1:
                lines = (f"{shortened(one[0], class_width)} {self._of(one)}" for one in others)
                cells.append("\n".join(lines))
            table.add_row(*map(Text, cells))
        return table

    def objects(self, top: int) -> list[dict[str, Any]]:
        """Return a JSON object per input: its best class and the next ``top`` - 1 ones."""
        return [
            {
                self.unit: name,
                "predicted": best[0],
                self.measure: best[1],
                "runners_up": [{"class": other, self.measure: value} for other, value in others],
            }
            for name, (best, *others) in self._ranked(top)
        ]

    def write_csv(self, path: Path) -> None:
        """Write the predicted class and every class's value, a line per input.

        Raises:
            FedtlError: The file cannot be written.
        """
        columns = [f"{self.measure} of {name}" for name in self.classes]
        lines: list[list[str]] = [[self.unit, "predicted", *columns]]
        for name, row in zip(self.names, self.values, strict=True):
            best = self.classes[int(row.argmax())]
            lines.append([name, best, *(f"{value:.9g}" for value in row)])
        # File names need not be UTF-8; what Python escaped is written as it was.
        content = csv_text(lines).encode("utf-8", "surrogateescape")
        # Path.exists would raise where a folder above may not be entered.
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
            _write_through(path, content)
        else:
            write_atomically(path, content)

    def _widths(self, top: int) -> tuple[int, int]:
        """Return how many characters names of inputs and of classes may have."""
        class_width = min(max(map(len, self.classes)), _CLASS_WIDTH)
        others = max(class_width, _PREDICTED) + _VALUE + 2 * _GAP
        if top > 1:
            others += class_width + len(" ") + _RUNNER_UP_VALUE + _GAP
        return _WIDTH - others, class_width

    def _ranked(self, top: int) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Yield each input's name and its best classes with their values."""
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :top]
        for name, row, best in zip(self.names, self.values, order, strict=True):
            yield name, [(self.classes[index], float(row[index])) for index in best]

    def _of(self, ranked: tuple[str, float]) -> str:
        return percent(ranked[1]) if self.measure == "probability" else f"{ranked[1]:.3f}"


def _write_through(path: Path, content: bytes) -> None:
    """Write to a path that is not a regular file, such as ``/dev/stdout``."""
    try:
        with path.open("wb") as file:
            file.write(content)
    except OSError as error:
        raise UnwrittenError(f"{path} cannot be written: {error.strerror or error}.") from error
