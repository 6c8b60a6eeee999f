"""From features to clients' data: who holds which rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.partition import partition_rows
from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.split import Split


def split_notes(config: RunConfig, dataset: Dataset, split: Split) -> list[str]:
    """Return what to tell the user about who holds what, a sentence each."""
    notes = []
    held = sum(map(len, (*split.train, *split.held_out)))
    if config.shots:
        unused = len(dataset.training) - held
        most = max((_largest_class(dataset, rows) for rows in split.train), default=0)
        fewer = f"; no client has so many (the most is {most:,})" if most < config.shots else ""
        notes.append(
            f"clients train on at most {config.shots:,} {dataset.unit}s of each class; "
            f"{unused:,} are not used (shots){fewer}"
        )
    elif config.min_examples_per_class > 1 and (left := len(dataset.training) - held):
        notes.append(
            f"{left:,} training images are left out, because their client has fewer than "
            f"{config.min_examples_per_class} of their class (min-examples-per-class)"
        )
    if dataset.groups is None:
        return notes
    lone = [
        name
        for name, train, held_out in zip(split.names, split.train, split.held_out, strict=True)
        if not len(held_out) and len(np.unique(dataset.groups[train])) == 1
    ]
    if not lone:
        return notes
    return [
        *notes,
        f"{len(lone):,} {'client has' if len(lone) == 1 else 'clients have'} a single group, "
        f"first {lone[0]}, and can hold nothing out: they have no score on data of their own",
    ]


def split_into_clients(config: RunConfig, dataset: Dataset) -> Split:
    """Draw the partition and every client's held-out part from the seed.

    Raises:
        UsageError: The partition cannot be made.
    """
    config = config.settled()
    parts, names = partition_rows(dataset, config)
    halves = [
        hold_out(config, dataset, rows, partition_id) for partition_id, rows in enumerate(parts)
    ]
    return Split(
        names=names,
        train=[train for train, _ in halves],
        held_out=[held_out for _, held_out in halves],
        test=dataset.tested,
        unseen=dataset.withheld,
    )


def settled_split(config: RunConfig, inputs: Inputs, drawn: Split) -> Split:
    """Return the split of readable inputs, of which ``drawn`` is one of all before extraction.

    A split is drawn from labels, before features are computed, so that an impossible one is
    refused at once; it is drawn again if images turned out to be unreadable.

    Raises:
        UsageError: The readable inputs cannot be split as asked.
    """
    return split_into_clients(config, inputs.dataset) if inputs.unreadable else drawn


def hold_out(
    config: RunConfig, dataset: Dataset, rows: NDArray[np.int64], partition_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a client's training and held-out rows; whole groups lie in one or the other.

    Of each class ``shots`` training rows are kept, if that is not 0. Training rows of a class of
    which there are fewer than ``min-examples-per-class`` are in neither.

    Raises:
        UsageError: There are so few of every class.
    """
    from fedtl.data.holdout import held_out_split

    rng = generator(config.seed, "held-out", partition_id)
    train, held_out = held_out_split(dataset.labels, rows, config.held_out, rng, dataset.groups)
    if config.shots:
        train = _few(config, dataset, train, partition_id)
    fewest = config.min_examples_per_class
    if fewest > 1 and len(train):
        train = train[_enough(dataset, train, fewest)]
        if not len(train):
            raise UsageError(
                f"client {partition_id} has fewer than {fewest} training "
                f"{'examples' if dataset.groups is None else 'groups'} of every class, so nothing "
                "may leave it; lower min-examples-per-class, or give it more data."
            )
    return train, held_out


def _largest_class(dataset: Dataset, rows: NDArray[np.int64]) -> int:
    """Return how many of some rows are of the class that most are of."""
    return int(np.bincount(dataset.labels[rows], minlength=1).max())


def _few(
    config: RunConfig, dataset: Dataset, train: NDArray[np.int64], partition_id: int
) -> NDArray[np.int64]:
    """Return ``shots`` training rows of each class, rising; those of fewer shots are among them."""
    drawn = generator(config.seed, "shots", partition_id).permutation(train)
    labels = dataset.labels[drawn]
    chosen = [drawn[labels == label][: config.shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen)) if chosen else train


def _enough(dataset: Dataset, train: NDArray[np.int64], fewest: int) -> NDArray[np.bool_]:
    """Return which training rows are of a class with that many rows, or groups."""
    labels = dataset.labels[train]
    units = train if dataset.groups is None else dataset.groups[train]
    pairs = np.unique(np.stack([labels, np.unique(units, return_inverse=True)[1]]), axis=1)
    found: NDArray[np.bool_] = np.bincount(pairs[0], minlength=labels.max() + 1)[labels] >= fewest
    return found


def simulated_sites(inputs: Inputs, split: Split, *, duplicates: str = "keep") -> SimulatedSites:
    """Return the clients of a split of the inputs.

    Args:
        inputs: The data.
        split: Who holds what.
        duplicates: Whether training rows that equal another one may be scored, ``keep``, or not,
            ``drop``.
    """
    labels = np.zeros(inputs.features.shape[0], np.int64)
    labels[inputs.rows] = inputs.dataset.labels
    return SimulatedSites(
        features=inputs.features,
        labels=labels,
        train=[inputs.rows[rows] for rows in split.train],
        held_out=[inputs.rows[rows] for rows in split.held_out],
        test=inputs.rows[split.test],
        unseen=inputs.rows[split.unseen],
        class_names=inputs.dataset.classes,
        fingerprint=inputs.fingerprint,
        groups=group_numbers(inputs),
        unrepeated=None if duplicates == "keep" else _unrepeated(inputs, split),
        crops=inputs.crops,
        table_schema="" if inputs.schema is None else inputs.schema.digest(),
    )


def _unrepeated(inputs: Inputs, split: Split) -> list[NDArray[np.int64]]:
    """Return each client's training rows, of the matrix, that no other training row equals."""
    content = inputs.content
    trained = np.bincount(
        content[np.concatenate(split.train)], minlength=content.max(initial=0) + 1
    )
    return [inputs.rows[rows[trained[content[rows]] == 1]] for rows in split.train]


def group_numbers(inputs: Inputs) -> NDArray[np.int64] | None:
    """Return the group of each row of the feature matrix, numbered; -1 for unreadable images."""
    if inputs.dataset.groups is None:
        return None
    numbers = np.full(inputs.features.shape[0], -1, np.int64)
    numbers[inputs.rows] = np.unique(inputs.dataset.groups, return_inverse=True)[1]
    return numbers
