"""Labelled images from a flat collection and a table: ``--labels labels.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fedtl.data.budget import MOST_TABLE_BYTES
from fedtl.data.dataset import Dataset
from fedtl.data.dicom_groups import PATIENT_ID, patient_groups
from fedtl.data.doubled_folders import outer_folders
from fedtl.data.file_items import file_items
from fedtl.data.file_store import FileStore, open_file_store, store_name
from fedtl.data.group_pattern import groups_by_pattern
from fedtl.data.input_kinds import TEXT
from fedtl.data.split_names import EXAMPLES, UNLABELLED, split_role, test_rows
from fedtl.errors import UnreadableImageError, UsageError, first_line

_NEEDED = ("file", "label")
_COLUMNS = (*_NEEDED, "site", "group", "split")


@dataclass(frozen=True)
class _Line:
    number: int
    file: str
    label: str
    site: str
    group: str
    split: str


def labelled_images(path: Path, table: str, *, group_from: str = "") -> Dataset:
    """Return the images that a table names, with the labels, sites, groups and splits it gives.

    The table is CSV with a header: ``file,label`` and, if they are known, ``site``, ``group`` and
    ``split`` (train, val, test); further columns are left alone. ``file`` is a path within the
    folder or archive, or as much of its end as tells it from other files, with or without suffix.
    The folders' names mean nothing. An image whose group is empty stands for itself.

    Args:
        path: The folder or archive of images.
        table: The table's path: in the folder or archive, or else from the working directory.
        group_from: Pattern of names that say the groups (see ``GroupPattern``), if the table has
            no column ``group``; empty for none.

    Raises:
        UsageError: The table cannot be found or read, lacks a column or a value, gives one file
            two labels, or names no image.
    """
    store = open_file_store(path)
    if not store.paths:
        # Texts need no folders that name their classes.
        store = open_file_store(path, TEXT)
    try:
        lines, columns = _lines(_text(store, path, table), table)
    except (csv.Error, MemoryError) as error:
        raise UsageError(f"--labels {table} is not a table ({first_line(error)})") from None
    found, notes = _matched(lines, store.paths, table)
    notes += store.notes
    # The table itself may lie among the files.
    left_aside = [other for other in store.left_aside if not f"/{other.path}".endswith(f"/{table}")]
    rows = np.array(sorted(found), dtype=np.int64)
    if not len(rows):
        raise UsageError(
            f"--labels {table} names none of the {len(store.paths):,} images of {path}; its first "
            f"file is {lines[0].file}; the first of the data is "
            f"{store.paths[0] if store.paths else 'none'}"
        )
    chosen = [found[row] for row in rows.tolist()]
    classes, labels = np.unique([line.label for line in chosen], return_inverse=True)
    groups = None
    if "group" in columns:
        if group_from:
            raise UsageError(
                f"--labels {table} has a column group, so --group-from {group_from} has no effect; "
                "leave one of them out"
            )
        groups = np.array([line.group or f"file {line.file}" for line in chosen])
        lone = sum(not line.group for line in chosen)
        if lone:
            notes.append(f"{lone:,} images have no group in {table}; each stands for itself")
    elif group_from == PATIENT_ID:
        sites = np.array([line.site for line in chosen]) if "site" in columns else None
        groups = patient_groups(store, rows.tolist(), sites)
    elif group_from:
        paths = [store.paths[row] for row in rows.tolist()]
        outer = outer_folders(store.paths)
        folders = [tuple(name.split("/")[outer:-1]) for name in paths]
        groups, _ = groups_by_pattern(group_from, paths, folders)
    test = np.zeros(len(rows), dtype=np.bool_)
    if "split" in columns:
        test = test_rows(np.array([line.split for line in chosen]))
    everything = Dataset(
        name=store_name(path),
        classes=tuple(str(name) for name in classes),
        labels=np.zeros(len(store.paths), np.int64),
        inputs=file_items(store),
        test=np.zeros(len(store.paths), np.bool_),
        sites=None,
        keys=store.paths,
    )
    named = everything.subset(rows)
    return Dataset(
        name=named.name,
        classes=named.classes,
        labels=labels.astype(np.int64),
        inputs=named.inputs,
        test=test,
        sites=np.array([line.site for line in chosen]) if "site" in columns else None,
        keys=named.keys,
        groups=groups,
        notes=tuple(notes),
        left_aside=tuple(left_aside),
    )


def _text(store: FileStore, path: Path, table: str) -> str:
    """Return the table's text, from the folder or archive or from the working directory."""
    beside = Path(table).expanduser()
    try:
        content = store.text(str(beside))
        if content is None:
            if beside.stat().st_size > MOST_TABLE_BYTES:
                raise UnreadableImageError(f"larger than {MOST_TABLE_BYTES >> 20} MiB")
            content = beside.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"--labels {table}: there is no such file in {path}, nor from the working directory"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--labels {table} is not UTF-8 text; save it as CSV in UTF-8") from None
    except (OSError, UnreadableImageError, MemoryError) as error:
        raise UsageError(f"--labels {table} cannot be read ({first_line(error)})") from None


def _lines(text: str, table: str) -> tuple[list[_Line], set[str]]:
    """Return the table's lines, and which of the columns it has."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip().lower() for name in next(reader, [])]
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise UsageError(
            f"--labels {table} has no column {lacking[0]}; its columns are "
            f"{', '.join(names) or 'none'}, and file,label are needed (site, group, split are read)"
        )
    at = {name: names.index(name) for name in _COLUMNS if name in names}
    lines = []
    for number, cells in enumerate(reader, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        value = {name: cells[place].strip() for name, place in at.items() if place < len(cells)}
        for name in at:
            if not value.get(name) and name != "group":
                raise UsageError(
                    f"--labels {table}: line {number} has no {name}; fill it in or remove the line"
                )
        split = value.get("split", "")
        if split and split_role(split) in ("", UNLABELLED):
            raise UsageError(
                f"--labels {table}: line {number} has split {split}, but splits are called "
                f"{EXAMPLES}"
            )
        lines.append(
            _Line(
                number,
                value["file"].replace("\\", "/").removeprefix("./"),
                value["label"],
                value.get("site", ""),
                value.get("group", ""),
                split_role(split),
            )
        )
    if not lines:
        raise UsageError(f"--labels {table} has no lines below its header")
    return lines, set(at)


def _matched(
    lines: Sequence[_Line], paths: Sequence[str], table: str
) -> tuple[dict[int, _Line], list[str]]:
    """Return the line of each image that has one, and what to tell the user about the others."""
    index = _endings(paths)
    found: dict[int, _Line] = {}
    missing, twice = [], []
    for line in lines:
        row = index.get(line.file, -1)
        if row < 0:
            missing.append(line)
        elif row not in found:
            found[row] = line
        elif found[row].label == line.label:
            twice.append(line)
        else:
            first = found[row]
            raise UsageError(
                f"--labels {table}: {line.file} is {first.label} in line {first.number} and "
                f"{line.label} in line {line.number}; an image has one label"
            )
    unnamed = [path for row, path in enumerate(paths) if row not in found]
    notes = []
    if missing:
        notes.append(
            f"{len(missing):,} lines of {table} name files that are not there (or several at "
            f"once) and are left aside, first {missing[0].file} in line {missing[0].number}"
        )
    if unnamed:
        notes.append(
            f"{len(unnamed):,} images have no line in {table} and are left aside, first "
            f"{unnamed[0]}"
        )
    if twice:
        notes.append(
            f"{len(twice):,} lines of {table} name a file again and are left aside, first "
            f"{twice[0].file} in line {twice[0].number}"
        )
    return found, notes


def _endings(paths: Sequence[str]) -> dict[str, int]:
    """Return the file that each whole path or ending of one means; -1 if it means several."""
    index: dict[str, int] = {}
    for row, path in enumerate(paths):
        names = path.split("/")
        for start in range(1, len(names)):
            ending = "/".join(names[start:])
            index[ending] = -1 if ending in index else row
    # A file is meant by its whole path, whatever else ends like it.
    index.update({path: row for row, path in enumerate(paths)})
    bare: dict[str, int] = {}
    for name, row in index.items():
        stem = name.removesuffix(PurePosixPath(name).suffix)
        if stem not in index:
            bare[stem] = -1 if bare.get(stem, row) != row else row
    return index | bare
