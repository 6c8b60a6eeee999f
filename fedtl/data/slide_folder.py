"""Embeddings of whole slides: an HDF5 file of patches for each, and a table of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.left_aside import LeftAside
from fedtl.data.split_names import EXAMPLES, UNLABELLED, split_role, test_rows
from fedtl.data.table_columns import columns_of
from fedtl.data.table_file import read_table
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.registry import needed
from fedtl.wording import count_of

SUFFIXES = (".h5", ".hdf5")
_FEATURES = "features"
_SLIDES = ("slide", "slideid", "slidename", "wsi", "file", "filename", "image", "imageid")
_ROWS_AT_ONCE = 16_384
_MOST_FEATURES = 65_536


def holds_slides(path: Path) -> bool:
    """Return whether a path is a folder with HDF5 files in it."""
    return path.is_dir() and bool(files_of_slides(path))


def files_of_slides(path: Path) -> list[Path]:
    """Return a folder's HDF5 files, in order, or the one that a path is; empty for others."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]


def slide_folder(path: Path, labels: str) -> Dataset:
    """Return one row for each slide: means of its patches' features, then their deviations.

    The files are as TRIDENT and CLAM write them: a data set ``features`` of shape ``(n, d)`` or
    ``(1, n, d)``. A slide's name is its file's, without suffix.

    Args:
        path: The folder, searched with all folders in it.
        labels: A table with columns for slide and label and, if known, site, patient and split; in
            the folder or from where Python runs.

    Raises:
        UsageError: There is no such table, no slide has a label, or slides do not fit together.
    """
    if not labels:
        raise UsageError(
            f"{path}: which slide is of which class? --labels TABLE.csv says it (columns slide, "
            "label and, if known, site, patient, split)"
        )
    beside = path / labels
    rows, notes = _labelled(beside if beside.is_file() else Path(labels).expanduser())
    files = {file.stem: file for file in files_of_slides(path)}
    aside, kept, each = [], [], []
    for name, file in files.items():
        if name not in rows:
            aside.append(LeftAside(file.name, "slide without a label", told=True))
            continue
        try:
            each.append(pooled(file))
        except UnreadableImageError as error:
            aside.append(LeftAside(file.name, str(error), told=True))
        else:
            kept.append(name)
    if not files.keys() & rows.keys() and files and rows:
        raise UsageError(
            f"{path}: --labels {labels} names none of its {count_of(len(files), 'slide')}; name "
            f"them as their files without suffix, such as {next(iter(files))}: the first of the "
            f"table is {next(iter(rows))}"
        )
    if not kept:
        raise UsageError(
            f"{path}: none of its {count_of(len(files), 'slide')} can be read and has a label"
        )
    widths = {len(one): name for one, name in zip(each, kept, strict=True)}
    if len(widths) > 1:
        (few, one), (many, other), *_ = ((w // 2, name) for w, name in widths.items())
        raise UsageError(
            f"{path}: {one} has {few} features a patch, and {other} {many}; "
            "take out those of another encoder"
        )
    if aside:
        notes.append(
            f"{count_of(len(aside), 'slide')} {'is' if len(aside) == 1 else 'are'} left aside, "
            f"first {aside[0].path}: {aside[0].kind}"
        )
    if absent := [name for name in rows if name not in files]:
        verb = "names" if len(absent) == 1 else "name"
        lines = count_of(len(absent), "line")
        notes.append(f"{lines} of {labels} {verb} no slide, first {absent[0]}")
    found = [rows[name] for name in kept]
    classes, numbers = np.unique([one["label"] for one in found], return_inverse=True)
    return Dataset(
        name=path.resolve().name,
        classes=tuple(map(str, classes)),
        labels=numbers.astype(np.int64),
        inputs=np.stack(each),
        test=_test(labels, found),
        sites=_column(found, "site"),
        keys=kept,
        groups=_column(found, "group"),
        notes=tuple(notes),
        left_aside=tuple(aside),
    )


def _labelled(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return what a table says of each slide, and what to tell the user about it."""
    if not path.is_file():
        raise UsageError(f"--labels {path}: there is no such file")
    table = read_table(path)
    plain = {name: "".join(filter(str.isalnum, name.lower())) for name in table}
    slides = [name for known in _SLIDES for name in table if plain[name] == known]
    if not slides:
        raise UsageError(f"--labels {path} has no column slide; its columns are {', '.join(table)}")
    others = [name for name in table if name != slides[0]]
    columns = columns_of(path, others, {"text": "none"})
    said = {"label": columns.label, "site": columns.site, "group": columns.group}
    said = {what: name for what, name in (said | {"split": columns.split}).items() if name}
    rows: dict[str, dict[str, str]] = {}
    lacking = 0
    for place, slide in enumerate(table[slides[0]]):
        row = {what: table[name][place] or "" for what, name in said.items()}
        if slide is None or not row["label"] or ("site" in row and not row["site"]):
            lacking += 1
            continue
        name = slide if Path(slide).suffix.lower() not in _OF_SLIDES else Path(slide).stem
        if rows.setdefault(name, row) != row:
            raise UsageError(f"--labels {path} says two things of the slide {name}")
    told = [f"{lacking:,} lines of {path.name} lack a slide, a label or a site"] if lacking else []
    return rows, told


# What tables may have behind a slide's name.
_OF_SLIDES = (*SUFFIXES, ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".pt")


def pooled(path: Path) -> NDArray[np.float32]:
    """Return means and deviations of a slide's patches, shape ``(2d,)``.

    Raises:
        UnreadableImageError: The file is damaged, or has no patches of finite numbers.
    """
    h5py = needed("h5py", extra="slides", by="embeddings of slides")
    try:
        with h5py.File(path, "r") as file:
            link = file.get(_FEATURES, getlink=True)
            # A link or an external part would read another file of this machine.
            if not isinstance(link, h5py.HardLink):
                raise UnreadableImageError("no data set features of its own")
            found = file[_FEATURES]
            own = isinstance(found, h5py.Dataset) and not found.is_virtual and not found.external
            if not own or found.dtype.kind != "f":
                raise UnreadableImageError("no floating-point data set features of its own")
            shape = found.shape[1:] if found.ndim == 3 and found.shape[0] == 1 else found.shape
            if len(shape) != 2 or 0 in shape or shape[1] > _MOST_FEATURES:
                raise UnreadableImageError(f"features of shape {found.shape}, not (n, d)")
            return _moments(found, shape[0], nested=found.ndim == 3)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UnreadableImageError(f"no HDF5 file that can be read ({reason})") from error


def _moments(found: Any, count: int, *, nested: bool) -> NDArray[np.float32]:
    sums: NDArray[np.float64] = np.zeros(0)
    squares: NDArray[np.float64] = np.zeros(0)
    centre: NDArray[np.float64] = np.zeros(0)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = slice(start, min(count, start + _ROWS_AT_ONCE))
        part = np.asarray(found[0, rows] if nested else found[rows], np.float64)
        if not np.isfinite(part).all():
            raise UnreadableImageError("features that are NaN or infinite")
        if not start:
            # Squares of what is far from 0 would lose the digits that differ.
            centre = part.mean(axis=0)
            sums, squares = np.zeros_like(centre), np.zeros_like(centre)
        sums += (part - centre).sum(axis=0)
        squares += np.square(part - centre).sum(axis=0)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return np.concatenate([centre + mean, deviation]).astype(np.float32)


def _column(found: Sequence[dict[str, str]], what: str) -> NDArray[np.str_] | None:
    if what not in found[0]:
        return None
    return np.array([one[what] or f"slide {place}" for place, one in enumerate(found)])


def _test(labels: str, found: Sequence[dict[str, str]]) -> NDArray[np.bool_]:
    if "split" not in found[0]:
        return np.zeros(len(found), np.bool_)
    roles = [split_role(one["split"]) for one in found]
    for one, role in zip(found, roles, strict=True):
        if role in ("", UNLABELLED):
            raise UsageError(
                f"--labels {labels} has split {one['split']!r}, but splits are called {EXAMPLES}"
            )
    return test_rows(np.array(roles))
