"""Examples that are the same to the byte, in training and in scoring or with several clients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.split import Split

_NOBODY, _TRAINED, _HELD_OUT, _TEST, _UNSEEN = range(-1, 4)


@dataclass(frozen=True, eq=False)
class Deduplicated:
    """A split with what is scored told apart from what is trained on.

    Attributes:
        split: The split; with ``duplicates = drop``, without the held-out and unseen rows that
            equal a training row of any client, and without the test rows that equal any row of a
            client, held out or not: so the test part is the same whatever a seed holds out. They
            go nowhere else: they are not scored.
        listed: A line for ``duplicates.csv`` of every example that equals another one elsewhere,
            or one of another label.
        told: What to tell the user, a sentence; empty if nothing is listed.
    """

    split: Split
    listed: list[dict[str, str]]
    told: str


def without_duplicates(config: RunConfig, inputs: Inputs, split: Split) -> Deduplicated:
    """Return the split without duplicates in what is scored, and what duplicates there are.

    Copies within one client's training rows, of one label, are neither listed nor told.

    Args:
        config: Says whether duplicates are dropped or kept.
        inputs: The data, with the content of each row.
        split: Who holds what.
    """
    dataset, content = inputs.dataset, inputs.content
    kind, client = _places(split, len(dataset))
    copies = np.bincount(content[kind != _NOBODY], minlength=content.max(initial=0) + 1)
    repeated = (kind != _NOBODY) & (copies[content] > 1)
    if not repeated.any():
        return Deduplicated(split, [], "")
    trained = np.isin(content, content[kind == _TRAINED])
    clients = np.isin(content, content[client >= 0])
    leaked = (kind > _TRAINED) & np.where(kind == _TEST, clients, trained)
    drop = config.duplicates == "drop"

    def place(row: int) -> str:
        if kind[row] in (_TEST, _UNSEEN):
            return "test" if kind[row] == _TEST else config.holdout_site
        name = split.names[client[row]]
        return f"{name}, training" if kind[row] == _TRAINED else f"{name}, held out"

    # Copies stand together, training rows before held-out ones before all others.
    rows = np.flatnonzero(repeated)
    rows = rows[np.lexsort((rows, kind[rows], content[rows]))]
    listed: list[dict[str, str]] = []
    examples: list[int] = []
    two_labels: set[int] = set()
    across = 0
    first = -1
    for row in rows.tolist():
        if first < 0 or content[row] != content[first]:
            first = row
            continue
        elsewhere = (kind[row], client[row]) != (kind[first], client[first])
        other_label = dataset.labels[row] != dataset.labels[first]
        if not (elsewhere or other_label):
            continue
        if other_label:
            two_labels.add(int(content[row]))
        across += bool(elsewhere and not leaked[row])
        examples.append(row)
        listed.append(
            {
                "file": dataset.keys[row],
                "lies": place(row),
                "label": dataset.classes[dataset.labels[row]],
                "equals": dataset.keys[first],
                "which_lies": place(first),
                "with_label": dataset.classes[dataset.labels[first]],
                "two_labels": "yes" if other_label else "no",
                "done": "left out of scores" if leaked[row] and drop else "kept",
            }
        )
    if drop:
        split = replace(
            split,
            held_out=[held[~leaked[held]] for held in split.held_out],
            test=split.test[~leaked[split.test]],
            unseen=split.unseen[~leaked[split.unseen]],
        )
    counts = [int((leaked & (kind == scored)).sum()) for scored in (_TEST, _HELD_OUT, _UNSEEN)]
    told = _sentence(config, counts, across, len(two_labels), listed) if listed else ""
    return Deduplicated(split, listed, told)


def _places(split: Split, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what each row is for, and whose it is (-1 if it is no client's)."""
    kind, client = np.full(count, _NOBODY, np.int64), np.full(count, -1, np.int64)
    for number, (train, held_out) in enumerate(zip(split.train, split.held_out, strict=True)):
        kind[train], kind[held_out] = _TRAINED, _HELD_OUT
        client[train] = client[held_out] = number
    kind[split.test], kind[split.unseen] = _TEST, _UNSEEN
    return kind, client


def _sentence(
    config: RunConfig, counts: list[int], across: int, two_labels: int, listed: list[dict[str, str]]
) -> str:
    done = (
        "left out of scores (duplicates = drop)"
        if config.duplicates == "drop"
        else "scored all the same (duplicates = keep)"
    )
    places = ("in the test part", "held out by clients", f"at {config.holdout_name}")
    scored = [f"{count:,} {place}" for count, place in zip(counts, places, strict=True) if count]
    parts = []
    if scored:
        verb = "equals" if sum(counts) == 1 else "equal"
        done = f"and {'is' if sum(counts) == 1 else 'are'} {done}"
        parts.append(f"{' and '.join(scored)} {verb} a client's example to the byte {done}")
    if across:
        more = " more" if scored else ""
        verb = "equals" if across == 1 else "equal"
        parts.append(f"{across:,}{more} {verb} an example that lies elsewhere")
    if two_labels:
        carry = "carries" if two_labels == 1 else "carry"
        parts.append(f"{two_labels:,} of the contents {carry} two labels")
    one = listed[0]
    # A path may name a site or a patient.
    first = (
        ""
        if config.pseudonyms
        else f"; first {one['file']} ({one['lies']}) = {one['equals']} ({one['which_lies']})"
    )
    return f"duplicates: {'; '.join(parts)}{first}; all are listed in duplicates.csv"
