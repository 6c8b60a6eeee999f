"""From a configuration to clients' data: open the data, extract features, split into clients."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.class_names import without_rare
from fedtl.data.dataset import Dataset
from fedtl.data.grey_scale import GreyScale
from fedtl.data.grey_scanning import on_one_scale
from fedtl.data.group_pattern import groups_hint
from fedtl.data.groups import straddling_test
from fedtl.data.hospitals import HospitalsOptions, SiteShift
from fedtl.data.left_aside import note_of
from fedtl.data.partition import partition_rows
from fedtl.data.pillow_warnings import doubts
from fedtl.data.sources import (
    Reading,
    check_classes,
    class_sizes,
    open_dataset,
    without_lost_classes,
    without_unreadable,
)
from fedtl.data.test_part import with_test_part
from fedtl.data.unreadable import by_kind
from fedtl.data.unseen_site import withhold_site
from fedtl.determinism import generator
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.contents import Contents
from fedtl.federation.simulated_sites import SimulatedSites
from fedtl.federation.split import Split
from fedtl.transfer.shared_features import SharedFeatures, Spill

if TYPE_CHECKING:
    from fedtl.transfer.extraction import Runner

Progress = Callable[[int, int], None]
# Told of the data and of the name and reason of each image in it that cannot be decoded.
OnUnreadable = Callable[[Dataset, list[tuple[str, str]]], None]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Labelled features, every one from the frozen backbone.

    Attributes:
        dataset: What they are features of; rows as in ``features``.
        features: The matrix.
        rows: Row of the feature matrix of each row of the data set (unreadable images leave gaps).
        fingerprint: The backbone's.
        unreadable: Name and reason of each image that could not be decoded.
        computed: Images that went through the backbone now.
        spill: Keeps the matrix alive where it has no file in the cache.
        content: Shape ``(N,)``: rows of the data set of equal number are the same to the byte.
        contents: Digests of all that was there, the unreadable included.
        scale: What is black and white in pictures of more than 8 bits.
        notes: What is to be told of the pictures as they were decoded, a sentence each.
    """

    dataset: Dataset
    features: SharedFeatures
    rows: NDArray[np.int64]
    fingerprint: str
    unreadable: list[tuple[str, str]]
    computed: int
    spill: Spill | None
    content: NDArray[np.int64]
    contents: Contents | None = None
    scale: GreyScale = field(default_factory=GreyScale)
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What one input is, in a word."""
        return "row" if isinstance(self.dataset.inputs, np.ndarray) else "file"


def cache_folder(config: RunConfig) -> Path | None:
    """Return the feature cache: the configured folder, the user's own, or ``None`` for none.

    There is none either where the user has no home, as in many containers: see :func:`cache_note`.
    """
    if config.no_cache:
        return None
    if config.cache:
        return Path(config.cache).expanduser()
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("fedtl")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, KeyError):  # no home, or none that can be written
        return None
    homeless = folder.is_relative_to("/.cache") or not os.access(folder, os.W_OK)
    return None if homeless else folder


def cache_note(config: RunConfig) -> str:
    """Return what to tell where features are kept in memory only, although nobody asked for it."""
    if config.no_cache or config.cache or cache_folder(config) is not None:
        return ""
    return (
        "this user has no home folder that can be written, so features are computed anew by every "
        "run; name a folder with --cache"
    )


def open_data(config: RunConfig, *, own: bool = False) -> Dataset:
    """Return the configured data set; ``holdout-site`` is marked as unseen in it.

    Args:
        config: The run.
        own: Whether it is one real site's own data. Its rows are not new to the federation, so no
            test part is held out of it.

    Raises:
        UsageError: There is no such data or it is unusable.
    """
    config = config.settled()
    effects = SiteShift(
        stain=config.hospitals_stain,
        illumination=config.hospitals_illumination,
        focus=config.hospitals_focus,
        noise=config.hospitals_noise,
        jpeg=config.hospitals_jpeg,
        magnification=config.hospitals_magnification,
        prevalence=config.hospitals_prevalence,
    )
    options = HospitalsOptions(
        images=config.hospitals_images,
        test_images=config.hospitals_test_images,
        sites=max(1, config.hospitals_sites),
        size=config.hospitals_size,
        shift=effects.times(config.hospitals_shift),
        label_noise=config.hospitals_label_noise,
    )
    dataset = open_dataset(
        config.data,
        seed=config.inputs_seed,
        hospitals=options,
        reading=reading_of(config),
        own=own,
    )
    if config.holdout_site:
        dataset = withhold_site(dataset, config.holdout_site, fewest_sites=fewest_sites(config))
    return dataset if own else with_test_part(dataset, config.test_fraction, config.inputs_seed)


def reading_of(config: RunConfig) -> Reading:
    """Return how the configured data is to be read."""
    return Reading(
        top_level=config.top_level,
        group_from=config.group_from,
        labels=config.labels,
        layout=config.layout,
        classes=config.classes,
        min_per_class=config.min_per_class,
    )


def data_notes(config: RunConfig, dataset: Dataset) -> list[str]:
    """Return what is to be told of the data before anything is computed, a sentence each."""
    natural, named = config.partition == "natural", not config.pseudonyms
    seen = not isinstance(dataset.inputs, np.ndarray)
    notes = [
        *dataset.notes,
        cache_note(config) if seen else "",
        note_of(dataset, named=named),
        groups_hint(dataset, natural=natural, named=named),
    ]
    straddling = straddling_test(dataset)
    if straddling:
        first = f", first {straddling[0]}" if named else ""
        notes.append(
            f"of the groups, {len(straddling):,} lie both in training and in the test split "
            f"that the data brings{first}, so that accuracy on it is too good"
        )
    return [note for note in notes if note]


def split_notes(dataset: Dataset, split: Split) -> list[str]:
    """Return what is to be told of who holds what, a sentence each."""
    if dataset.groups is None:
        return []
    lone = [
        name
        for name, train, held_out in zip(split.names, split.train, split.held_out, strict=True)
        if not len(held_out) and len(np.unique(dataset.groups[train])) == 1
    ]
    if not lone:
        return []
    return [
        f"of the clients, {len(lone):,} have a single group, first {lone[0]}, and can hold nothing "
        "out: they have no score on data of their own"
    ]


def fewest_sites(config: RunConfig) -> int:
    """Return how many sites must have training data beside one that takes no part.

    One client alone is no federation, and its own head would be the federated one.
    """
    return 2 if config.partition == "natural" else 1


def prepare_inputs(
    config: RunConfig,
    dataset: Dataset,
    on_progress: Progress | None,
    runner: Runner | None = None,
    on_wait: Callable[[str], None] | None = None,
    on_unreadable: OnUnreadable | None = None,
    *,
    everybody: bool = True,
) -> Inputs:
    """Run the frozen backbone over every image it has not seen, and leave out the unreadable.

    Args:
        config: The run.
        dataset: The data.
        on_progress: Called with the images that have their features and their total number.
        runner: Runs the backbone elsewhere than in this process.
        on_wait: Told for whom, before another process that fills the cache is waited for.
        on_unreadable: Told of images that cannot be decoded before too few of them are a reason to
            fail.
        everybody: Whether it is all clients' data, so that what is black and white can be found in
            it; one client's own cannot say that for the others.

    Raises:
        FedtlError: The backbone's weights are not to be had, or too few images can be read.
        UsageError: What is black and white has to be said.
    """
    from fedtl.transfer.backbones import embedding_fingerprint

    if isinstance(dataset.inputs, np.ndarray):
        spill = Spill()
        shared = spill.share(dataset.inputs)
        rows = np.arange(len(dataset), dtype=np.int64)
        fingerprint = embedding_fingerprint(shared.shape[1])
        # The shared copy is the only one from here on.
        matrix = shared.tensor().numpy()
        digests = [hashlib.blake2b(row.data, digest_size=16).digest() for row in matrix]
        contents = Contents.of(dataset, digests, fingerprint)
        dataset, content = replace(dataset, inputs=matrix), _content(digests)
        return Inputs(dataset, shared, rows, fingerprint, [], 0, spill, content, contents)

    from fedtl.transfer.backbones import load_backbone
    from fedtl.transfer.extraction import extract_features

    backbone = load_backbone(
        config.backbone,
        weights=config.weights,
        image_size=config.image_size,
        seed=config.inputs_seed,
    )
    images, scale = on_one_scale(dataset.inputs, config.grey_limits)
    if not (everybody or scale.asked) and scale != GreyScale():
        raise UsageError(
            f"{dataset.name} has grey pictures whose values reach from "
            f"{scale.told.replace(' ', ' to ')}, and all sites must take the same values for black "
            f"and white: set grey-range = '{scale.told}', or wider, in the configuration of the "
            "federation"
        )
    dataset = replace(dataset, inputs=images)
    features = extract_features(
        images,
        backbone,
        cache=cache_folder(config),
        precision=config.precision,
        device="auto",
        on_progress=on_progress,
        runner=runner,
        on_wait=on_wait,
    )
    shape = (features.array.shape[0], features.array.shape[1])
    kept: Spill | None = None
    if features.path is None:
        kept = Spill()
        shared = kept.share(features.array)
    else:
        shared = SharedFeatures(shape, features.path, features.offset)
    contents = Contents.of(
        dataset, map(bytes, features.digests), backbone.fingerprint, _backbone_told(config)
    )
    bad = np.array([index for index, _ in features.unreadable], dtype=np.int64)
    unreadable = [(dataset.keys[index], reason) for index, reason in features.unreadable]
    rows = np.setdiff1d(np.arange(len(dataset), dtype=np.int64), bad)
    notes = [note for note in (backbone.told, scale.note, doubts()) if note]
    if on_unreadable is not None:
        on_unreadable(dataset, unreadable)
    if len(bad):
        reasons = by_kind(reason for _, reason in unreadable)
        if not len(rows):
            raise FedtlError(
                f"{dataset.name}: none of its {len(bad):,} images can be decoded: {reasons}."
            )
        dataset = without_lost_classes(without_unreadable(dataset, bad))
        counts, what = class_sizes(dataset)
        if config.min_per_class > counts.min():
            # Some classes have become rare by what cannot be decoded.
            rows = rows[counts[dataset.labels] >= config.min_per_class]
            dataset = without_rare(dataset, config.min_per_class, counts, what)
            notes.append(dataset.notes[-1])
        try:
            check_classes(dataset)
        except UsageError as error:
            raise UsageError(f"{error}; of the others, {reasons}") from None
        if config.holdout_site and not len(dataset.withheld):
            raise FedtlError(f"None of the images of {config.holdout_site} can be decoded.")
    return Inputs(
        dataset=dataset,
        features=shared,
        rows=rows,
        fingerprint=backbone.fingerprint,
        unreadable=unreadable,
        scale=scale,
        notes=tuple(notes),
        computed=features.computed,
        spill=kept,
        content=features.content[rows],
        contents=contents,
    )


def _backbone_told(config: RunConfig) -> str:
    size = f", {config.image_size} pixels" if config.image_size else ""
    return f"{config.backbone}, weights {config.weights}{size}"


def _content(digests: list[bytes]) -> NDArray[np.int64]:
    """Return numbers that are equal for equal digests, shape ``(N,)``."""
    numbers = np.unique(np.array(digests, dtype="V16"), return_inverse=True)[1]
    return numbers.astype(np.int64)


def split_into_clients(config: RunConfig, dataset: Dataset) -> Split:
    """Draw the partition and every client's held-out part from the seed.

    Raises:
        UsageError: The partition cannot be made.
    """
    config = config.settled()
    parts, names = partition_rows(
        dataset,
        config.partition,
        config.clients,
        seed=config.seed,
        alpha=config.alpha,
        classes_per_client=config.classes_per_client,
        shards_per_client=config.shards_per_client,
        min_size=config.min_examples,
    )
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
    """Return a client's training and held-out rows; whole groups lie in one or the other."""
    from fedtl.data.holdout import held_out_split

    rng = generator(config.seed, "held-out", partition_id)
    return held_out_split(dataset.labels, rows, config.held_out, rng, dataset.groups)


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
