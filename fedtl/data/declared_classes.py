"""Classes that are named beforehand, as a site may have no example of one that others have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedtl.config_key import nearest
from fedtl.data.class_names import FOLD_CASE, named
from fedtl.data.dataset import Dataset
from fedtl.data.folded_name import folded
from fedtl.errors import UsageError


def with_declared_classes(dataset: Dataset, declared: Sequence[str], how: str) -> Dataset:
    """Return the data with these classes, whether or not it has an example of each.

    They come in the order in which data that has all of them would have them, so that a site that
    names its classes and one that leaves it to its folders agree.

    Args:
        dataset: The data.
        declared: Names of all classes; none leaves the data as it is.
        how: ``fold-case`` takes names that differ only by case or space for the declared ones.

    Raises:
        UsageError: The data has a class that is not declared, such as a misspelt one.
    """
    if not declared:
        return dataset
    spelt = {folded(name): name for name in declared} if how == FOLD_CASE else {}
    own = [spelt.get(folded(name), name) for name in dataset.classes]
    strange = [name for name in own if name not in declared]
    if strange:
        verb = "is none" if len(strange) == 1 else "are none"
        raise UsageError(
            f"{dataset.name}: {named(strange)} {verb} of the classes that class-names declares, "
            f"{named(declared)}{nearest(strange[0], declared)} Give its folder or label a declared "
            "name, or declare it at every site"
        )
    if set(own) == set(declared):
        return replace(dataset, classes=tuple(own))
    classes = _in_order(declared, numbered=isinstance(dataset.inputs, np.ndarray))
    number_of = np.array([classes.index(name) for name in own], np.int64)
    return replace(dataset, classes=tuple(classes), labels=number_of[dataset.labels])


def absent_note(dataset: Dataset) -> str:
    """Return a sentence that names the classes without training examples; empty if there are none.

    It is for the site's own log.
    """
    counts = np.bincount(dataset.labels[dataset.training], minlength=len(dataset.classes))
    absent = [dataset.classes[number] for number in np.flatnonzero(counts == 0)]
    if not absent:
        return ""
    these = "class" if len(absent) == 1 else f"{len(absent):,} classes"
    return (
        f"of the {len(dataset.classes):,} classes, this site has no training example of the "
        f"{these} {named(absent)}, and takes part with the others; if it should have some, look at "
        "the names of its folders or labels"
    )


def _in_order(names: Sequence[str], *, numbered: bool) -> list[str]:
    """Return names as sources sort them: as texts, or as numbers if they number rows' classes."""
    if numbered and all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)
