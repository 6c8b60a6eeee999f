"""The kinds of input: what each is called, and which kind a sequence of inputs is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InputKind:
    """A kind of input.

    Attributes:
        name: As a backbone says what it takes.
        unit: One of them, in messages and tables; ``s`` makes several.
    """

    name: str
    unit: str


PICTURE = InputKind("pictures", "image")
TEXT = InputKind("texts", "text")
SOUND = InputKind("recordings", "recording")
EMBEDDING = InputKind("embeddings", "row")
TABLE_ROW = InputKind("rows of tables", "row")


def kind_of(inputs: Any) -> InputKind:
    """Return what some inputs say they are; pictures if they say nothing."""
    if isinstance(inputs, np.ndarray):
        return EMBEDDING
    kind: InputKind = getattr(inputs, "kind", PICTURE)
    return kind
