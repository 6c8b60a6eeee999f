"""A client's labelled data for a finished head: to score it, or to estimate its class mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import GreyImages
from fedtl.data.emptied import note_of
from fedtl.data.folded_name import folded
from fedtl.data.group_pattern import suggested_groups
from fedtl.data.pillow_warnings import doubts
from fedtl.data.unreadable import by_kind
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.classifier import Classifier
from fedtl.kinds import KINDS

if TYPE_CHECKING:
    from fedtl.data.dataset import Dataset
    from fedtl.data.sources import Reading
    from fedtl.transfer.prior_correction import Adjustment

_EMBEDDINGS = "features:"
_OF_OWN_COLUMNS = ("text-column", "ignored-columns", "category-columns", "table-schema")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs of known class.

    Attributes:
        unit: What one of them is called.
        names: One per input.
        features: Shape ``(n, d)``, float32.
        labels: Shape ``(n,)``, int64, in the order of the head's classes.
        groups: Which belong together, shape ``(n,)``, int64; ``None`` if each stands for itself.
        notes: What the user should know about them, such as what was left out and why, a sentence
            each.
    """

    unit: str
    names: list[str]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    notes: list[str]


def read_labelled(
    classifier: Classifier,
    source: str,
    reading: Reading,
    on_progress: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Return labelled inputs as the head takes them.

    Args:
        classifier: The finished run.
        source: A folder or archive of labelled inputs, a table of texts, ``features:FILE.npz``
            with ``x``, ``y``, or ``features:FOLDER`` of slides.
        reading: How to read folders and archives.
        on_progress: Called with the inputs that have their features and their total number.

    Raises:
        FedtlError: It cannot be read, or none of its classes is one of the head's.
    """
    dataset = _opened(classifier, source, reading)
    known = {name: index for index, name in enumerate(classifier.trained.classes)}
    meant, told = _of_head(dataset.classes, known)
    of_head = np.array([known.get(meant.get(name, name), -1) for name in dataset.classes], np.int64)
    labels = of_head[dataset.labels]
    notes = [*dataset.notes, *_misfits(classifier, dataset), *told]
    notes += filter(None, [note_of(dataset)])
    if strange := [name for name in dataset.classes if meant.get(name, name) not in known]:
        count = int((labels < 0).sum())
        notes.append(
            f"{count} inputs of classes that the head does not know are left out: "
            f"{', '.join(strange)}; it knows {', '.join(known)}"
        )
    if not (labels >= 0).any():
        raise UsageError(f"{source} has none of the head's classes: {', '.join(known)}.")
    if found := suggested_groups(dataset):
        example, count, option = found
        notes.append(
            f"names suggest that images belong together, such as the {count:,} of {example}, but "
            f"no groups are declared, so the interval is too narrow; {option} makes it count groups"
        )
    rows = np.flatnonzero(labels >= 0)
    dataset = dataset.subset(rows)
    features, unreadable = _features(classifier, dataset, on_progress)
    reasons = by_kind(reason for _, reason in unreadable)
    if unreadable:
        first = dataset.keys[unreadable[0][0]]
        lost = f"{len(unreadable):,} {dataset.unit}s"
        notes.append(f"{lost} cannot be decoded, first {first} ({reasons})")
    notes += filter(None, [doubts()])
    kept = np.setdiff1d(np.arange(len(rows)), [index for index, _ in unreadable])
    if not len(kept):
        lost = f"{len(rows):,} {dataset.unit}s"
        raise FedtlError(f"None of the {lost} of {source} can be decoded: {reasons}.")
    groups = dataset.groups
    return Labelled(
        unit=dataset.unit,
        names=[str(dataset.keys[row]) for row in kept],
        features=np.asarray(features[kept]),
        labels=labels[rows][kept],
        groups=None if groups is None else np.unique(groups[kept], return_inverse=True)[1],
        notes=notes,
    )


def _misfits(classifier: Classifier, dataset: Dataset) -> list[str]:
    """Return what of rows of a table the run's schema does not know."""
    from fedtl.data.rows import Rows, column_counts
    from fedtl.preparation.agreed_schema import fit_notes

    schema, rows = classifier.trained.schema, dataset.inputs
    if schema is None or not isinstance(rows, Rows):
        return []
    return fit_notes(schema, column_counts(rows, range(len(rows))), dataset.name)


def _of_head(classes: Sequence[str], known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return which class of the head is meant by names that differ only by case or space."""
    read = Counter(folded(name) for name in known)
    head = {folded(name): name for name in known}
    meant = {
        name: head[folded(name)]
        for name in classes
        if name not in known and read[folded(name)] == 1 and head[folded(name)] not in classes
    }
    pairs = ", ".join(f"{name!r} as {own!r}" for name, own in meant.items())
    return meant, [f"classes are read as the head names them: {pairs}"] if meant else []


def case_mix(classifier: Classifier, own: Labelled) -> Adjustment:
    """Return what reads the head with the mix of classes of a client's labelled data.

    The head's own mix is the one of all clients' examples, which its file tells, and so is the
    temperature of probabilities: a temperature fitted to data that the head may have learnt from
    makes it too sure. Scores that are not log-odds get the temperature that is likeliest for
    ``own``; the weight of the correction is fitted in the same way.

    Raises:
        UsageError: The file is of a version that does not hold these.
    """
    import torch

    import strategies
    from fedtl.transfer.prior_correction import Adjustment, Readings, log_prior_ratio

    strategy, trained = strategies.load(classifier.config.strategy), classifier.trained
    everyone = None
    if strategy.class_prior == "examples":
        if not trained.class_counts:
            raise UsageError(
                f"{classifier.run / 'head.safetensors'} does not say how frequent classes were in "
                "training, so it cannot be read with another mix; train it with this version."
            )
        everyone = np.array(trained.class_counts, np.int64)
    counts = np.bincount(own.labels, minlength=len(trained.classes))
    offset = log_prior_ratio(counts, everyone)
    scores = torch.from_numpy(classifier.outputs(own.features))
    known = None if classifier.measure == "score" else trained.temperature
    reading = Readings(scores, torch.from_numpy(own.labels), offset, known).likeliest()
    shift = torch.from_numpy(reading.weight * offset).float()
    return Adjustment(torch.tensor([1 / reading.temperature]), shift[None])


def _opened(classifier: Classifier, source: str, reading: Reading) -> Dataset:
    from fedtl.data.sources import images
    from fedtl.data.sources.features import labelled_embeddings

    embeddings = source.startswith(_EMBEDDINGS)
    if embeddings != classifier.takes_embeddings:
        taken = "features:FILE.npz" if classifier.takes_embeddings else "inputs in class/file"
        raise UsageError(f"{classifier.run} was trained on {taken}, so it cannot use {source}.")
    if not embeddings and KINDS["data"].found(source)[0] == "table":
        return _table(classifier, source)
    if not embeddings:
        return images(Path(source).expanduser(), reading)
    path = Path(source.removeprefix(_EMBEDDINGS)).expanduser()
    dataset = labelled_embeddings(path, reading.labels)
    assert isinstance(dataset.inputs, np.ndarray)
    if dataset.inputs.shape[1] != classifier.feature_size:
        raise UsageError(
            f"{path}: x has {dataset.inputs.shape[1]} features, but the head takes "
            f"{classifier.feature_size}."
        )
    return dataset


def _table(classifier: Classifier, source: str) -> Dataset:
    """Return a table as the run's own was read, whatever other columns it has or lacks."""
    from fedtl.data.sources.table import Table

    config, schema = classifier.config, classifier.trained.schema
    if schema is not None:
        given = dict(config.options)
        kept = {key: given[key] for key in given if key not in _OF_OWN_COLUMNS}
        config = config.replace(options=tuple(sorted({**kept, "text-column": "none"}.items())))
    table = Table(config, source)
    table.schema = schema
    return table.open()


def _features(
    classifier: Classifier, dataset: Dataset, on_progress: Callable[[int, int], None] | None
) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
    if isinstance(dataset.inputs, np.ndarray):
        return dataset.inputs, []
    from fedtl.transfer.backbones import check_kind
    from fedtl.transfer.cache_folder import cache_folder
    from fedtl.transfer.extraction import extract_features

    images = dataset.inputs
    if isinstance(images, GreyImages):
        images = images.with_scale(classifier.trained.scale)
    backbone = classifier.backbone()
    check_kind(backbone, images, dataset.name)
    features = extract_features(
        images,
        backbone,
        cache=cache_folder(classifier.config),
        precision=classifier.config.precision,
        device="auto",
        on_progress=on_progress,
    )
    return features.array, list(features.unreadable)
