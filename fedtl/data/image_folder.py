"""Labelled images from a tree of folders, whose names say class, split and site."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset, UnreadableImageError
from fedtl.data.decoding import decode_rgb
from fedtl.data.file_store import FileStore, open_file_store
from fedtl.errors import UsageError

_LAYOUTS = "class/file, split/class/file (train, val or validation, test) or site/class/file"
_VALIDATION = frozenset({"val", "validation"})
_SPLITS = _VALIDATION | {"train", "test"}


class FileImages:
    """Pictures that are decoded from their files when they are asked for."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.paths)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file's bytes, or where there are none, of its path and why."""
        try:
            content = self._store.read(index)
        except UnreadableImageError as error:
            content = f"unreadable {self._store.paths[index]}: {error}".encode()
        return hashlib.sha256(content).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the decoded picture, shape ``(height, width, 3)``; see ``decode_rgb``."""
        return decode_rgb(self._store.read(index))


def image_folder(path: Path) -> Dataset:
    """Return the labelled images in a folder or zip, sorted by relative path.

    A lone outermost folder (``archive/class/file``) is looked through. In a split layout ``test``
    is the test split and ``val`` or ``validation`` joins ``train``; where there is no ``test``,
    the validation folder is the test split.

    Raises:
        UsageError: There are no images, or their folders fit none of the layouts.
    """
    store = open_file_store(path)
    if not store.paths:
        raise UsageError(f"{path} holds no images: --data wants {_LAYOUTS}")
    outer = _outer_folders(store.paths)
    folders = [tuple(name.split("/")[outer:-1]) for name in store.paths]
    depth = _depth(path, store.paths, folders)
    classes, labels = np.unique([folder[-1] for folder in folders], return_inverse=True)
    test = np.zeros(len(labels), dtype=np.bool_)
    sites = None
    if depth == 2:
        tops = np.array([folder[0] for folder in folders])
        if _tops_are_splits(path, {str(top) for top in np.unique(tops)}):
            test = _test_rows(np.char.lower(tops))
        else:
            sites = tops
    return Dataset(
        name=path.resolve().name.removesuffix(".zip"),
        classes=tuple(str(name) for name in classes),
        labels=labels.astype(np.int64),
        inputs=FileImages(store),
        test=test,
        sites=sites,
        keys=store.paths,
    )


def _outer_folders(paths: list[str]) -> int:
    """Return how many outermost folders hold everything and leave a class folder inside."""
    # The paths are sorted: what the first and the last share, all share.
    first, last = paths[0].split("/"), paths[-1].split("/")
    shallowest = min(path.count("/") for path in paths)
    shared = 0
    while shared < shallowest - 1 and first[shared] == last[shared]:
        shared += 1
    return shared


def _depth(path: Path, paths: list[str], folders: list[tuple[str, ...]]) -> int:
    """Return how many folders every image lies in, 1 or 2."""
    examples: dict[int, str] = {}
    for folder, name in zip(folders, paths, strict=True):
        examples.setdefault(len(folder), name)
    depths = set(examples)
    if 0 in depths:
        raise UsageError(f"{path}: {examples[0]} lies in no class folder; expected {_LAYOUTS}")
    if max(depths) > 2:
        raise UsageError(
            f"{path}: {examples[max(depths)]} lies {max(depths)} folders deep; expected {_LAYOUTS}"
        )
    if len(depths) == 2:
        raise UsageError(
            f"{path} mixes layouts: {examples[1]} lies one folder deep and {examples[2]} two; "
            f"expected all as {_LAYOUTS}"
        )
    return depths.pop()


def _tops_are_splits(path: Path, tops: set[str]) -> bool:
    splits = {top for top in tops if top.lower() in _SPLITS}
    if splits and splits != tops:
        other = min(tops - splits)
        raise UsageError(
            f"{path} mixes layouts: folder {min(splits)} is a split and {other} looks like a site; "
            f"expected {_LAYOUTS}"
        )
    return bool(splits)


def _test_rows(splits: NDArray[np.str_]) -> NDArray[np.bool_]:
    test: NDArray[np.bool_] = splits == "test"
    return test if test.any() else np.isin(splits, list(_VALIDATION))
