"""Where labelled inputs come from: ``--data`` understood and opened; a file for each source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from fedtl.data.class_names import as_a_person_reads, named, with_trained_classes, without_rare
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import with_declared_classes
from fedtl.data.left_aside import told
from fedtl.data.sources.base import Source
from fedtl.data.sources.folder import Reading, images
from fedtl.errors import UsageError
from fedtl.kinds import KINDS

if TYPE_CHECKING:
    from fedtl.config import RunConfig

__all__ = [
    "Reading",
    "check_classes",
    "class_sizes",
    "images",
    "open_dataset",
    "without_lost_classes",
    "without_unreadable",
]


def open_dataset(config: RunConfig, *, own: bool = False) -> Dataset:
    """Return the data set that ``data`` names, checked as by ``check_classes``.

    Test rows of classes that nobody trains are left out, and classes that are too rare if that is
    asked for. Pictures are not decoded yet; that some cannot be is found by ``Images.load``.

    Args:
        config: The run, settled.
        own: Whether it is one real site's own data: others may train what it only tests, and it
            may have few or no examples of what others train.

    Raises:
        UsageError: There is no such data, or it cannot be used as it is.
        FedtlError: A download failed.
    """
    kind = KINDS["data"]
    name, argument = kind.found(config.data)
    if name in kind.with_argument and not argument:
        raise UsageError(f"--data {config.data} names no data set after the colon")
    dataset = cast(type[Source], kind.load(config.data))(config, argument).open()
    dataset = as_a_person_reads(dataset, config.classes)
    dataset = without_rare(dataset, config.min_per_class, *class_sizes(dataset), own=own)
    if not own:
        dataset = with_trained_classes(dataset)
    dataset = with_declared_classes(dataset, config.declared_classes, config.classes)
    try:
        check_classes(dataset, own=own)
    except UsageError as error:
        # The files that are left aside may be the reason.
        aside = [one for one in dataset.left_aside if not one.told]
        raise UsageError("; ".join(filter(None, [str(error), told(aside)]))) from None
    return dataset


def without_unreadable(dataset: Dataset, unreadable: NDArray[np.int64]) -> Dataset:
    """Return the data set without the rows at ``unreadable``; check its classes afterwards."""
    keep = np.ones(len(dataset), dtype=np.bool_)
    keep[unreadable] = False
    return dataset.subset(np.flatnonzero(keep))


def without_lost_classes(dataset: Dataset) -> Dataset:
    """Return the data set without the classes that no row has, as where none could be decoded."""
    present, labels = np.unique(dataset.labels, return_inverse=True)
    classes = tuple(dataset.classes[label] for label in present)
    return replace(dataset, classes=classes, labels=labels.astype(np.int64))


def check_classes(dataset: Dataset, *, own: bool = False) -> None:
    """Refuse data from which no classifier can be learnt and scored.

    Args:
        dataset: The data.
        own: Whether it is one real site's own data, which has its share in learning and scoring
            whatever it has of each class.

    Raises:
        UsageError: Fewer than two classes have training inputs, or a class has fewer than two
            inputs (or groups, if there are any). Of a site's own data: there are fewer than two
            classes, or no training inputs.
    """
    in_training = np.bincount(dataset.labels[dataset.training], minlength=len(dataset.classes))
    in_all, what = class_sizes(dataset)
    trained = np.flatnonzero(in_training)
    if own and len(trained) and len(dataset.classes) > 1:
        return
    if len(trained) < 2:
        found = f"only {dataset.classes[trained[0]]}" if len(trained) else "none"
        table = "" if what == "rows" else "; class folders or a table (--labels FILE.csv) name them"
        if own and len(trained):
            table = "; if the other sites have more, class-names in the node config names them all"
        raise UsageError(
            f"{dataset.name}: at least two classes with training {what} are needed, but there is "
            f"{found}{table}"
        )
    rare = np.flatnonzero(in_all < 2)
    if len(rare):
        names = [dataset.classes[number] for number in rare]
        number = f"a single {what[:-1]}" if in_all[rare].any() else f"no {what}"
        if in_all[rare].any() and not in_all[rare].all():
            number = f"{number} or none"
        such = f"class {names[0]} has" if len(rare) == 1 else f"{len(rare):,} classes have"
        listed = "" if len(rare) == 1 else f": {named(names)}"
        raise UsageError(
            f"{dataset.name}: {such} {number}, but every class needs at least two{listed}; "
            "--min-per-class 2 drops such classes"
        )


def class_sizes(dataset: Dataset) -> tuple[NDArray[np.int64], str]:
    """Return how many inputs each class has, or groups if there are any, and what they are.

    The counts are of shape ``(C,)``.
    """
    count = len(dataset.classes)
    if dataset.groups is None:
        return np.bincount(dataset.labels, minlength=count), f"{dataset.unit}s"
    # A class that one group alone has is never both trained on and scored.
    group = np.unique(dataset.groups, return_inverse=True)[1]
    held = np.unique(np.stack([group, dataset.labels]), axis=1)[1]
    return np.bincount(held, minlength=count), "groups"
