"""Labelled images from a tree of folders, whose names say class, split, site and group."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset, UnreadableImageError
from fedtl.data.decoding import decode_rgb, grey_extent, surely_shallow
from fedtl.data.dicom_groups import PATIENT_ID, patient_groups, patients_note
from fedtl.data.file_store import FileStore, open_file_store, store_name
from fedtl.data.folder_layout import LAYOUTS, TEST, VALIDATION, read_layout
from fedtl.data.grey_scale import Extent, GreyScale
from fedtl.data.group_pattern import groups_by_pattern
from fedtl.data.left_aside import told
from fedtl.errors import UsageError

# Enough for a PNG's depth.
_TELLING_BYTES = 33


class FileImages:
    """Pictures that are decoded from their files when they are asked for.

    Args:
        store: The files.
        scale: What is black and white in pictures of more than 8 bits.
    """

    def __init__(self, store: FileStore, scale: GreyScale | None = None) -> None:
        self._store = store
        self._scale = scale or GreyScale()

    def __len__(self) -> int:
        return len(self._store.paths)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file's bytes, or where there are none, of its path and why.

        A scale other than the plain one is part of it, as it alters the picture.
        """
        try:
            content = self._store.read(index)
        except UnreadableImageError as error:
            content = f"unreadable {self._store.paths[index]}: {error}".encode()
        digest = hashlib.sha256(content).digest()
        tag = self._scale.tag
        return hashlib.sha256(tag + digest).digest() if tag else digest

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the decoded picture, shape ``(height, width, 3)``; see ``decode_rgb``."""
        return decode_rgb(self._store.read(index), self._scale)

    def grey_extent(self, index: int) -> Extent | None:
        """Return a picture's smallest and largest grey value; see ``decoding.grey_extent``."""
        if surely_shallow(self._store.head(index, _TELLING_BYTES)):
            return None
        return grey_extent(self._store.read(index))

    def with_scale(self, scale: GreyScale) -> FileImages:
        """Return the same pictures on a scale."""
        return FileImages(self._store, scale)


def image_folder(path: Path, *, top_level: str = "auto", group_from: str = "") -> Dataset:
    """Return the labelled images in a folder or archive, sorted by relative path.

    A lone outermost folder (``archive/class/file``) is looked through. In a split layout ``test``
    is the test split and ``val`` or ``validation`` joins ``train``; if there is no ``test``, the
    validation folder is the test split.

    Args:
        path: The folder or archive.
        top_level: What the outermost of several levels is: see ``read_layout``.
        group_from: Pattern of the names that say what belongs together (see ``GroupPattern``); a
            level of folders that it matches is neither site nor class. Empty for none.

    Raises:
        UsageError: There are no images, or their folders fit none of the layouts.
    """
    store = open_file_store(path)
    if not store.paths:
        found = f" ({told(store.left_aside)})" if told(store.left_aside) else ""
        raise UsageError(f"{path} holds no images{found}: --data wants {LAYOUTS}")
    outer = outer_folders(store.paths)
    folders = [tuple(name.split("/")[outer:-1]) for name in store.paths]
    groups = None
    by_patient = group_from == PATIENT_ID
    if group_from and not by_patient:
        groups, folders = groups_by_pattern(group_from, store.paths, folders)
    layout = read_layout(path, store.paths, folders, top_level)
    if by_patient:
        groups = patient_groups(store, range(len(store.paths)), layout.sites)
    notes = [layout.guess] if layout.guess and groups is None else []
    if groups is None and layout.groups is None and (note := patients_note(store)):
        notes.append(note)
    classes, labels = np.unique(layout.classes, return_inverse=True)
    test = np.zeros(len(labels), dtype=np.bool_)
    if layout.splits is not None:
        test = test_rows(layout.splits)
    return Dataset(
        name=store_name(path),
        classes=tuple(str(name) for name in classes),
        labels=labels.astype(np.int64),
        inputs=FileImages(store),
        test=test,
        sites=layout.sites,
        keys=store.paths,
        groups=layout.groups if groups is None else groups,
        notes=tuple(notes),
        left_aside=tuple(store.left_aside),
    )


def outer_folders(paths: list[str]) -> int:
    """Return how many outermost folders hold everything and leave a class folder inside."""
    # The paths are sorted: what the first and the last share, all share.
    first, last = paths[0].split("/"), paths[-1].split("/")
    shallowest = min(path.count("/") for path in paths)
    shared = 0
    while shared < shallowest - 1 and first[shared] == last[shared]:
        shared += 1
    return shared


def test_rows(splits: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which rows are scored: those of the test split, or without any of the validation's."""
    names = np.char.lower(splits)
    test: NDArray[np.bool_] = np.isin(names, list(TEST))
    return test if test.any() else np.isin(names, list(VALIDATION))
