"""Classes as a person reads them: names that differ by case or space, and those nobody trains."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.folded_name import folded
from fedtl.data.left_aside import LeftAside
from fedtl.data.understood import counted
from fedtl.errors import UsageError

AS_READ, FOLD_CASE, EXACT = "auto", "fold-case", "exact"

_UNLABELLED = "unlabelled"
# How like two names must be for one to be a misspelling of the other; see difflib.
_CLOSE = 0.8
_UNTRAINED = "of a class that nobody trains"
_MOST_NAMED = 100


def named(names: Sequence[str]) -> str:
    """Return names for a message: all of them, or the first hundred and how many more."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def as_a_person_reads(dataset: Dataset, how: str) -> Dataset:
    """Return the data with classes joined whose names differ only by case or space.

    Args:
        dataset: The data, of which no site is withheld.
        how: ``fold-case`` joins them, under the name that most training inputs have. ``exact``
            keeps them apart. ``auto`` keeps them apart and tells, where they occur side by side (in
            one site's training or test part), and otherwise refuses.

    Raises:
        UsageError: Names differ only by case or space from one part of the data to another.
    """
    spellings: dict[str, list[int]] = defaultdict(list)
    if how != EXACT:
        for number, name in enumerate(dataset.classes):
            spellings[folded(name)].append(number)
    alike = [numbers for numbers in spellings.values() if len(numbers) > 1]
    if not alike:
        return dataset
    if how == FOLD_CASE:
        return _joined(dataset, alike)
    sites = np.zeros(len(dataset), np.int64)
    if dataset.sites is not None:
        sites = np.unique(dataset.sites, return_inverse=True)[1].astype(np.int64)
    places = 2 * sites + dataset.test
    for numbers in alike:
        found = [set(places[dataset.labels == number].tolist()) for number in numbers]
        if len(set.union(*found)) == sum(map(len, found)):
            first, second = (dataset.classes[number] for number in numbers[:2])
            raise UsageError(
                f"{dataset.name}: the classes {first!r} and {second!r} differ only by case or "
                f"space{_and_so_do(len(alike) - 1)}, and "
                f"{_where(dataset, numbers)}; --classes fold-case joins them, --classes exact "
                "keeps them apart"
            )
    first, second = (dataset.classes[number] for number in alike[0][:2])
    note = (
        f"the classes {first!r} and {second!r} differ only by case or "
        f"space{_and_so_do(len(alike) - 1)}, and are kept apart, as they lie side by side; "
        "--classes fold-case joins them, --classes exact settles that they are different"
    )
    return replace(dataset, notes=(*dataset.notes, note))


def _and_so_do(others: int) -> str:
    return f" ({others} more {'pair does' if others == 1 else 'pairs do'})" if others else ""


def _where(dataset: Dataset, numbers: Sequence[int]) -> str:
    """Return where each of two spellings occurs."""
    tested = [bool(dataset.test[dataset.labels == number].all()) for number in numbers[:2]]
    if tested[0] != tested[1]:
        return "one is trained and the other only tested"
    return "no part of the data has both"


def _joined(dataset: Dataset, alike: Sequence[Sequence[int]]) -> Dataset:
    counts = np.bincount(dataset.labels[~dataset.test], minlength=len(dataset.classes))
    target = np.arange(len(dataset.classes))
    for numbers in alike:
        target[list(numbers)] = numbers[int(np.argmax(counts[list(numbers)]))]
    kept, labels = np.unique(target, return_inverse=True)
    number_of = np.asarray(labels, np.int64)
    return replace(
        dataset,
        classes=tuple(dataset.classes[number] for number in kept.tolist()),
        labels=number_of[dataset.labels],
    )


def with_trained_classes(dataset: Dataset) -> Dataset:
    """Return the data without test rows of classes that no training row has; a note says so.

    Test rows that all lie in one such class are unlabelled, as in a folder ``test/unknown``; there
    is then no test split.

    Raises:
        UsageError: Several classes are tested, and none of them is trained.
    """
    count = len(dataset.classes)
    trained = np.bincount(dataset.labels[~dataset.test], minlength=count) > 0
    tested = np.bincount(dataset.labels[dataset.test], minlength=count)
    strange = np.flatnonzero(~trained & (tested > 0))
    if not len(strange) or not trained.any():
        return dataset
    known = [name for name, known in zip(dataset.classes, trained, strict=True) if known]
    names = [_with_like(dataset.classes[number], known) for number in strange]
    lost, left = int(tested[strange].sum()), int(tested[trained].sum())
    what = f"{dataset.unit}s"
    if left:
        such = "a class" if len(names) == 1 else "classes"
        note = (
            f"of the test split's {lost + left:,} {what}, {lost:,} are of {named(names)}, {such} "
            f"that nobody trains, and are left aside: accuracy on it is over the {left:,} {what} "
            f"of the {int(trained.sum()):,} trained classes"
        )
    elif len(names) == 1:
        note = (
            f"all {lost:,} {what} of the test split lie in {names[0]}, a class that nobody trains, "
            "so they are taken to be unlabelled and left aside"
        )
    else:
        raise UsageError(
            f"{dataset.name}: none of the test split's classes ({named(names)}) is among the "
            f"training data's ({named(known)}); give both the same names, or take the test split "
            "away"
        )
    kind = _UNTRAINED if left else _UNLABELLED
    return _without_classes(dataset, strange, kind, note)


def _with_like(name: str, known: Sequence[str]) -> str:
    """Return a name with the known one that it may be a misspelling of."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE) if name.isalpha() else []
    return f"{name} (did you mean {close[0]}?)" if close else name


def without_rare(
    dataset: Dataset, fewest: int, counts: NDArray[np.int64], what: str, *, own: bool = False
) -> Dataset:
    """Return the data without classes that have fewer inputs (or groups) than ``fewest``.

    Args:
        dataset: The data.
        fewest: How many a class needs; 0 drops none.
        counts: Inputs, or groups, of each class, shape ``(C,)``.
        what: What is counted, in the plural.
        own: Whether it is one real site's own data, of which one class is enough.

    Raises:
        UsageError: Fewer than two classes are left, or of a site's own data none.
    """
    rare = np.flatnonzero(counts < fewest)
    if not len(rare):
        return dataset
    if len(counts) - len(rare) < (1 if own else 2):
        needed, enough = ("one is", "one class has") if own else ("two are", "two classes have")
        best = sorted(counts.tolist())[-1 if own else -2 :][0]
        raise UsageError(
            f"--min-per-class {fewest} leaves {len(counts) - len(rare)} of {len(counts)} classes "
            f"of {dataset.name}, but {needed} needed; {enough} at least {best} {what}"
            f"{'' if own else ' each'}"
        )
    rows = int(np.isin(dataset.labels, rare).sum())
    names = [dataset.classes[number] for number in rare]
    note = (
        f"min-per-class = {fewest} drops {len(rare):,} of {len(counts):,} classes, with "
        f"{counted(rows, dataset.unit)}: {named(names)}"
    )
    return _without_classes(dataset, rare, "of a rare class", note)


def _without_classes(dataset: Dataset, numbers: NDArray[np.int64], kind: str, note: str) -> Dataset:
    """Return the data without some classes and all their rows, which are listed as left aside."""
    lost = np.isin(dataset.labels, numbers)
    kept = np.setdiff1d(np.arange(len(dataset.classes)), numbers)
    number_of = np.full(len(dataset.classes), -1, np.int64)
    number_of[kept] = np.arange(len(kept))
    rest = dataset.subset(np.flatnonzero(~lost))
    aside = [LeftAside(dataset.keys[row], kind, told=True) for row in np.flatnonzero(lost).tolist()]
    return replace(
        rest,
        classes=tuple(dataset.classes[number] for number in kept.tolist()),
        labels=number_of[rest.labels],
        notes=(*dataset.notes, note),
        left_aside=tuple(sorted((*dataset.left_aside, *aside), key=lambda one: one.path)),
    )
