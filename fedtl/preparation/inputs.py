"""Features of every input from the frozen backbone, computed once and shared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.class_names import without_rare
from fedtl.data.crops import CropRows
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import with_declared_classes
from fedtl.data.grey_scale import GreyScale
from fedtl.data.grey_scanning import on_one_scale
from fedtl.data.input_kinds import TABLE_ROW, kind_of
from fedtl.data.pillow_warnings import doubts
from fedtl.data.schema import Schema
from fedtl.data.sources import (
    check_classes,
    class_sizes,
    without_lost_classes,
    without_unreadable,
)
from fedtl.data.unreadable import by_kind
from fedtl.errors import FedtlError, UsageError
from fedtl.preparation.agreed_schema import agreed_schema
from fedtl.preparation.contents import Contents
from fedtl.transfer.cache_folder import cache_folder
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
        schema: What the columns of a table's rows are; ``None`` for other inputs.
        notes: What to tell the user about how inputs were read, a sentence each.
        crops: Where crops of pictures lie in the matrix, after all pictures; ``None`` for none.
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
    schema: Schema | None = None
    notes: tuple[str, ...] = ()
    crops: CropRows | None = None

    @property
    def unit(self) -> str:
        """What one input is, in a word."""
        unit = self.dataset.unit
        return "file" if unit == "image" else unit


def prepare_inputs(
    config: RunConfig,
    dataset: Dataset,
    on_progress: Progress | None,
    runner: Runner | None = None,
    on_wait: Callable[[str], None] | None = None,
    on_unreadable: OnUnreadable | None = None,
    *,
    everybody: bool = True,
    own: bool = False,
) -> Inputs:
    """Run the frozen backbone over every image it has not seen, and leave out the unreadable.

    Args:
        config: The run.
        dataset: The data.
        on_progress: Called with the images that have their features and their total number.
        runner: Runs the backbone elsewhere than in this process.
        on_wait: Called with the name of a process that fills the cache, before a wait for it.
        on_unreadable: Called with the images that cannot be decoded, before the run fails if too
            few are left.
        everybody: Whether it is all clients' data, so that what is black and white, or what a
            table's columns are, can be found in it; one client's own cannot say that for the
            others.
        own: Whether it is one real site's own data, whose classes are others', too.

    Raises:
        FedtlError: The backbone's weights cannot be obtained, or too few images can be read.
        UsageError: What is black and white, or the schema of a table, has to be given.
    """
    from fedtl.transfer.embeddings import embedding_fingerprint

    if isinstance(dataset.inputs, np.ndarray):
        if config.trains_blocks:
            raise UsageError(
                f"{dataset.name} holds features, which have no blocks to train; use "
                "trainable-blocks = 0 and no train-from."
            )
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

    from fedtl.preparation.shown_crops import shown_crops
    from fedtl.transfer.backbones import check_kind
    from fedtl.transfer.boundary import check_room, cut_backbone
    from fedtl.transfer.extraction import extract_features

    schema, told = agreed_schema(dataset, everybody=everybody)
    backbone, boundary = cut_backbone(config, schema)
    check_kind(backbone, dataset.inputs, dataset.name)
    images, scale = on_one_scale(dataset.inputs, config.grey_limits)
    if not (everybody or scale.asked) and scale != GreyScale():
        raise UsageError(
            f"{dataset.name} has grey pictures whose values reach from "
            f"{scale.told.replace(' ', ' to ')}, and all sites must take the same values for black "
            f"and white: set grey-range = '{scale.told}', or wider, in the configuration of the "
            "federation"
        )
    dataset = replace(dataset, inputs=images)
    seen, crops = images, None
    if boundary is not None:
        with_crops, shown = shown_crops(config, backbone, dataset, images)
        if with_crops is not None:
            seen, crops = with_crops, CropRows.of(with_crops)
        told = [*told, shown]
        (on_wait or _unheard)(check_room(config, backbone, len(seen), dataset.unit))
    features = extract_features(
        seen,
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
    shared = replace(shared, boundary_size=backbone.boundary_size)
    contents = Contents.of(
        dataset,
        map(bytes, features.digests[: len(dataset)]),
        backbone.fingerprint,
        _backbone_told(config),
    )
    # A crop is as readable as its picture.
    lost = [one for one in features.unreadable if one[0] < len(dataset)]
    bad = np.array([index for index, _ in lost], dtype=np.int64)
    unreadable = [(dataset.keys[index], reason) for index, reason in lost]
    rows = np.setdiff1d(np.arange(len(dataset), dtype=np.int64), bad)
    notes = [note for note in (*told, backbone.told, scale.note, doubts()) if note]
    content = features.content
    if kind_of(images) == TABLE_ROW:
        # Two people may have the same in all columns: equal rows are no copies of one another.
        content = np.arange(len(dataset), dtype=np.int64)
    if on_unreadable is not None:
        on_unreadable(dataset, unreadable)
    if len(bad):
        reasons = by_kind(reason for _, reason in unreadable)
        if not len(rows):
            all_of_them = f"{len(bad):,} {dataset.unit}s"
            raise FedtlError(
                f"{dataset.name}: none of its {all_of_them} can be decoded: {reasons}."
            )
        dataset = without_unreadable(dataset, bad)
        if not own:
            dataset = without_lost_classes(dataset)
        counts, what = class_sizes(dataset)
        if config.min_per_class > counts.min():
            # Some classes have become rare by what cannot be decoded.
            rows = rows[counts[dataset.labels] >= config.min_per_class]
            dataset = without_rare(dataset, config.min_per_class, counts, what, own=own)
            notes.append(dataset.notes[-1])
            dataset = with_declared_classes(dataset, config.declared_classes, config.classes)
        try:
            check_classes(dataset, own=own)
        except UsageError as error:
            raise UsageError(f"{error}; of the others, {reasons}") from None
        if config.holdout_site and not len(dataset.withheld):
            raise FedtlError(
                f"None of the {dataset.unit}s of {config.holdout_site} can be decoded."
            )
    return Inputs(
        dataset=dataset,
        features=shared,
        rows=rows,
        fingerprint=backbone.fingerprint,
        unreadable=unreadable,
        scale=scale,
        schema=schema,
        notes=tuple(notes),
        computed=features.computed,
        spill=kept,
        content=content[rows],
        contents=contents,
        crops=crops,
    )


def _unheard(told: str) -> None:
    """Nobody asked."""


def _backbone_told(config: RunConfig) -> str:
    size = f", {config.image_size} pixels" if config.image_size else ""
    return f"{config.backbone}, weights {config.weights}{size}"


def _content(digests: list[bytes]) -> NDArray[np.int64]:
    """Return numbers that are equal for equal digests, shape ``(N,)``."""
    numbers = np.unique(np.array(digests, dtype="V16"), return_inverse=True)[1]
    return numbers.astype(np.int64)
