"""What a client finds at home: its data, and which backbone made its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Context

from fedtl.transfer.client_block import ClientData


@dataclass(frozen=True)
class Site:
    """One client's data and identity.

    Attributes:
        data: Its rows of a feature matrix.
        class_names: Names of the classes that labels index.
        backbone_fingerprint: SHA-256 that names backbone, weights and preprocessing.
        smallest_cell: Counts below this, except 0, do not leave in tables of scores; 0 in a
            simulation, where nobody is behind them. See :mod:`fedtl.statistics.disclosure`.
        classes_left_out: Classes that it has too few training examples of to train on them.
        table_schema: SHA-256 of what the columns of its rows are; empty for other inputs.
    """

    data: ClientData
    class_names: tuple[str, ...]
    backbone_fingerprint: str
    smallest_cell: int = 0
    classes_left_out: int = 0
    table_schema: str = ""


@dataclass(frozen=True)
class Identity:
    """What all sites of a federation must have in common.

    Attributes:
        version: Version of fedtl.
        fingerprint: Backbone fingerprint.
        feature_size: d.
        classes: Class names, in label order.
        table_schema: SHA-256 of what the columns of rows are, which the fingerprint covers as well;
            empty for other inputs.
    """

    version: str
    fingerprint: str
    feature_size: int
    classes: tuple[str, ...]
    table_schema: str = ""


OpenSite = Callable[[Context], Site]
