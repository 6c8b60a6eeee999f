"""Labelled images from a tree of folders, whose names say class, split, site and group."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.dicom_groups import PATIENT_ID, patient_groups, patients_note
from fedtl.data.doubled_folders import copies_within, outer_folders, without_doubled
from fedtl.data.file_items import file_items
from fedtl.data.file_store import ARCHIVE_KINDS, open_file_store, store_name
from fedtl.data.folded_name import folded
from fedtl.data.folder_layout import UNLABELLED_PICTURE, Layout, read_layout
from fedtl.data.group_pattern import groups_by_pattern
from fedtl.data.layout_option import parse_layout
from fedtl.data.layout_refusals import LAYOUTS
from fedtl.data.left_aside import LeftAside, told
from fedtl.data.masks import MASK, masks
from fedtl.data.split_names import TEST, VALIDATION, split_role, test_rows
from fedtl.errors import UsageError

_COPY = "picture that is there twice"
_VOLUME = ".nii.gz"
_SLIDES = (".h5", ".hdf5")


def image_folder(
    path: Path, *, top_level: str = "auto", group_from: str = "", layout: str = ""
) -> Dataset:
    """Return the labelled images in a folder or archive, sorted by relative path.

    A lone outermost folder (``archive/class/file``) is looked through, and so are folders that are
    doubled. In a split layout the test folders are the test split and those of validation join the
    training data; if there is no test folder, those of validation are the test split.

    Args:
        path: The folder or archive.
        top_level: What the outermost of several levels is: see ``read_layout``.
        group_from: Pattern of the names that say what belongs together (see ``GroupPattern``); a
            level of folders that it matches is neither site nor class. Empty for none.
        layout: What every level is: see ``parse_layout``; empty to guess.

    Raises:
        UsageError: There are no images, or their folders fit none of the layouts.
    """
    levels = parse_layout(layout) if layout else ()
    store = open_file_store(path)
    if not store.paths:
        raise UsageError(_no_images(path, store.left_aside))
    outer = outer_folders(store.paths, len(levels) or 1)
    composed = [unicodedata.normalize("NFC", name) for name in store.paths]
    folders = [tuple(name.split("/")[outer:-1]) for name in composed]
    around = store.paths[0].split("/")[outer - 1] if outer else store_name(path)
    folders, copies = copies_within(store, folders, around)
    shorter = without_doubled(folders)
    if not levels or all(
        len(less) >= len(levels) for less, own in zip(shorter, folders, strict=True) if own
    ):
        folders = shorter
    marking = [] if levels else masks(store.paths, folders)
    rows = np.setdiff1d(np.arange(len(folders)), np.array([*copies, *marking], np.int64))
    paths, folders = [store.paths[row] for row in rows], [folders[row] for row in rows]
    groups = None
    by_patient = group_from == PATIENT_ID
    if group_from and not by_patient:
        groups, folders = groups_by_pattern(group_from, paths, folders)
    read = read_layout(path, paths, folders, top_level=top_level, layout=layout)
    unplaced = read.left
    if read.splits is not None:
        read = _without_unlabelled(read)
    chosen = rows[read.rows]
    if by_patient:
        groups = patient_groups(store, chosen.tolist(), read.sites)
    elif groups is not None:
        groups = groups[read.rows]
    classes, labels = np.unique(read.classes, return_inverse=True)
    test = np.zeros(len(labels), dtype=np.bool_)
    if read.splits is not None:
        test = test_rows(read.splits)
    left = [LeftAside(paths[row], reason, told=True) for row, reason in read.left.items()]
    left += [LeftAside(store.paths[row], _COPY, told=True) for row in copies]
    left += [LeftAside(store.paths[row], MASK, told=True) for row in marking]
    notes = list(read.notes) if groups is None else []
    notes += store.notes
    if groups is None and read.groups is None and (note := patients_note(store)):
        notes.append(note)
    if copies:
        copy, first = next(iter(copies.items()))
        notes.append(
            f"{len(copies):,} files lie there twice and are taken once, first {store.paths[copy]}, "
            f"which equals {store.paths[first]}"
        )
    if unplaced:
        notes.append(_told(paths, unplaced))
    if marking:
        notes.append(
            f"{count_of_kind(MASK, len(marking))}, first {store.paths[marking[0]]}, left aside; "
            "--layout, which says what each level is, reads them, too"
        )
    notes += _doubts(around if outer and not levels else "", read)
    everything = Dataset(
        name=store_name(path),
        classes=tuple(str(name) for name in classes),
        labels=np.zeros(len(store.paths), np.int64),
        inputs=file_items(store),
        test=np.zeros(len(store.paths), np.bool_),
        sites=None,
        keys=store.paths,
    )
    return replace(
        everything if len(chosen) == len(store.paths) else everything.subset(chosen),
        labels=labels.astype(np.int64),
        test=test,
        sites=read.sites,
        groups=read.groups if groups is None else groups,
        notes=tuple(notes),
        left_aside=tuple(sorted((*store.left_aside, *left), key=lambda one: one.path)),
    )


def _doubts(around: str, read: Layout) -> list[str]:
    """Return what to tell the user about a lone split, and about sites that may be one.

    Args:
        around: The folder that holds everything; empty for none.
        read: What the folders say.
    """
    notes = []
    if split_role(around) in (TEST, VALIDATION) and read.splits is None:
        notes.append(
            f"all images lie in the folder {around} and there is no training data beside it, so it "
            "is taken to be all of the data"
        )
    names = [] if read.sites is None else np.unique(read.sites).tolist()
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(folded(name), []).append(name)
    for first, second, *_ in (found for found in alike.values() if len(found) > 1):
        notes.append(
            f"the sites {first!r} and {second!r} differ only by case or space and are kept apart; "
            "if they are one, give their folders one name"
        )
    return notes


def _no_images(path: Path, left_aside: Sequence[LeftAside]) -> str:
    """Return a sentence that there are no images, and what to do about it."""
    archives = [
        one.path
        for one in left_aside
        if one.kind in ARCHIVE_KINDS and not one.path.lower().endswith(_VOLUME)
    ]
    found = f" ({told(left_aside)})" if told(left_aside) else ""
    if path.is_dir() and any(one.path.lower().endswith(_SLIDES) for one in left_aside):
        return (
            f"{path} holds no images{found}: if its HDF5 files are embeddings of slides, give "
            f"--data features:{path} --labels TABLE.csv"
        )
    if not archives:
        return f"{path} holds no images{found}: --data wants {LAYOUTS}"
    if path.is_dir() and len(archives) == 1:
        return f"{path} holds no images, but an archive: pass that, --data {path / archives[0]}"
    first = archives[0] if len(archives) == 1 else f"{len(archives):,}, first {archives[0]}"
    return f"{path} holds no images, but archives ({first}): unpack them and pass the folder"


def _without_unlabelled(read: Layout) -> Layout:
    """Return the layout without a test split whose one folder is a class that nobody trains."""
    assert read.splits is not None
    test = read.splits == TEST
    names = {folded(name) for name in read.classes[test].tolist()}
    if len(names) != 1 or names <= {folded(name) for name in read.classes[~test].tolist()}:
        return read
    note = (
        f"all {test.sum():,} images of the test split lie in {read.classes[test][0]}, a class that "
        "nobody trains, so they are taken to be unlabelled and left aside"
    )
    return replace(
        read,
        rows=read.rows[~test],
        classes=read.classes[~test],
        sites=None if read.sites is None else read.sites[~test],
        groups=None if read.groups is None else read.groups[~test],
        splits=read.splits[~test],
        left=dict(read.left) | dict.fromkeys(read.rows[test].tolist(), UNLABELLED_PICTURE),
        notes=(*read.notes, note),
    )


def _told(paths: Sequence[str], left: Mapping[int, str]) -> str:
    """Return a sentence on the pictures that the layout has no place for."""
    counts = Counter(left.values())
    kinds = " and ".join(count_of_kind(kind, count) for kind, count in counts.items())
    first = paths[min(left)]
    return f"{kinds}, first {first}, left aside"


def count_of_kind(kind: str, count: int) -> str:
    """Return ``12 unlabelled pictures``."""
    head, _, rest = kind.partition("picture")
    return f"{count:,} {head}picture{'s' if count != 1 else ''}{rest}"
