"""Where labelled inputs come from: ``--data`` understood and opened."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.class_names import (
    AS_READ,
    as_a_person_reads,
    named,
    with_trained_classes,
    without_rare,
)
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import with_declared_classes
from fedtl.data.features_file import features_file
from fedtl.data.hospitals import HospitalsOptions, hospitals_dataset
from fedtl.data.image_folder import image_folder
from fedtl.data.label_table import labelled_images
from fedtl.data.left_aside import told
from fedtl.data.medmnist_sets import medmnist_set
from fedtl.errors import UsageError


@dataclass(frozen=True)
class Reading:
    """How a folder or zip of images is to be read.

    Attributes:
        top_level: What the outermost of several levels of folders is: see ``read_layout``.
        layout: What every level of folders is: see ``parse_layout``; empty to guess.
        group_from: Pattern of the names that say what belongs together: see ``GroupPattern``.
        labels: Table of labels, sites and groups (see ``labelled_images``); empty if folders say
            them.
        classes: How names of classes are compared: see ``as_a_person_reads``.
        declared_classes: All classes by name; none to take those of the data.
        min_per_class: Inputs, or groups, below which a class is dropped.
    """

    top_level: str = "auto"
    group_from: str = ""
    labels: str = ""
    layout: str = ""
    classes: str = AS_READ
    declared_classes: tuple[str, ...] = ()
    min_per_class: int = 0


def open_dataset(
    spec: str,
    *,
    seed: int,
    hospitals: HospitalsOptions,
    reading: Reading | None = None,
    own: bool = False,
) -> Dataset:
    """Return the data set that ``spec`` names, checked as by ``check_classes``.

    Test rows of classes that nobody trains are left out, and classes that are too rare if that is
    asked for. Pictures are not decoded yet; that some cannot be is found by ``Images.load``.

    Args:
        spec: ``hospitals``; a folder or archive of images (see ``image_folder``);
            ``torchvision:NAME``; ``medmnist:NAME`` or ``medmnist:FILE.npz``; or
            ``features:FILE.npz``.
        seed: The run's seed, which ``hospitals`` is rendered from.
        hospitals: Size and difficulty of ``hospitals``.
        reading: How folders and zips are to be read, and classes.
        own: Whether it is one real site's own data: others may train what it only tests, and it
            may have few or no examples of what others train.

    Raises:
        UsageError: There is no such data, or it cannot be used as it is.
        FedtlError: A download failed.
    """
    reading = reading or Reading()
    if spec == "hospitals":
        dataset = hospitals_dataset(seed, hospitals)
    else:
        kind, colon, rest = spec.partition(":")
        if colon and kind in _OPENERS:
            if not rest:
                raise UsageError(f"--data {spec} names no data set after the colon")
            dataset = _OPENERS[kind](rest)
        else:
            dataset = images(_folder_or_zip(spec), reading)
    dataset = as_a_person_reads(dataset, reading.classes)
    dataset = without_rare(dataset, reading.min_per_class, *class_sizes(dataset), own=own)
    if not own:
        dataset = with_trained_classes(dataset)
    dataset = with_declared_classes(dataset, reading.declared_classes, reading.classes)
    try:
        check_classes(dataset, own=own)
    except UsageError as error:
        # The files that are left aside may be the reason.
        aside = [one for one in dataset.left_aside if not one.told]
        raise UsageError("; ".join(filter(None, [str(error), told(aside)]))) from None
    return dataset


def images(path: Path, reading: Reading) -> Dataset:
    """Return the images of a folder or archive; see ``image_folder``, ``labelled_images``."""
    if reading.labels:
        if reading.layout:
            raise UsageError(
                f"--labels {reading.labels} says what folders would, so --layout {reading.layout} "
                "has nothing to say; leave one of them out"
            )
        return labelled_images(path, reading.labels, group_from=reading.group_from)
    return image_folder(
        path,
        top_level=reading.top_level,
        group_from=reading.group_from,
        layout=reading.layout,
    )


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
        what = "rows" if isinstance(dataset.inputs, np.ndarray) else "images"
        return np.bincount(dataset.labels, minlength=count), what
    # A class that one group alone has is never both trained on and scored.
    group = np.unique(dataset.groups, return_inverse=True)[1]
    held = np.unique(np.stack([group, dataset.labels]), axis=1)[1]
    return np.bincount(held, minlength=count), "groups"


def _torchvision(name: str) -> Dataset:
    from platformdirs import user_cache_path

    from fedtl.data.torchvision_sets import torchvision_set

    return torchvision_set(name, user_cache_path("fedtl") / "torchvision")


_OPENERS: dict[str, Callable[[str], Dataset]] = {
    "torchvision": _torchvision,
    "medmnist": medmnist_set,
    "features": lambda rest: features_file(Path(rest).expanduser()),
}


def _folder_or_zip(spec: str) -> Path:
    path = Path(spec).expanduser()
    if path.exists():
        if path.suffix == ".npz":
            raise UsageError(f"--data {spec} is a .npz: write features:{spec} or medmnist:{spec}")
        return path
    kind, colon, rest = spec.partition(":")
    known = [*(f"{opener}:" for opener in _OPENERS), "hospitals"]
    close = difflib.get_close_matches(kind + colon, known, n=1, cutoff=0.75)
    hint = (
        f"did you mean {close[0]}{rest}?"
        if close
        else "a folder, a .zip or a .tar of images is expected"
    )
    raise UsageError(f"--data {spec}: there is no such folder or file; {hint}")
