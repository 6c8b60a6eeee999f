"""Folders that archivers and web sites double: data/data/class, or a copy of all within itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fedtl.data.file_store import FileStore
from fedtl.errors import UnreadableImageError

Folders = list[tuple[str, ...]]


def outer_folders(paths: Sequence[str], levels: int = 1) -> int:
    """Return how many outermost folders hold everything and leave so many levels inside.

    Args:
        paths: The files; at least one.
        levels: Levels of folders that are to be left. Files that do not lie as deep do not count
            where any does.
    """
    deep = [path for path in paths if path.count("/") >= levels] or list(paths)
    shallowest = min(path.count("/") for path in deep)
    first, last = min(deep).split("/"), max(deep).split("/")
    shared = 0
    # What the first and the last of sorted paths share, all share.
    while shared < shallowest - levels and first[shared] == last[shared]:
        shared += 1
    return shared


def without_doubled(folders: Folders) -> Folders:
    """Return the folders, one of the two left out where a folder holds one of its name and no more.

    That is how ``train/train/cat`` and ``test/test/cat`` come about. It is done where all folders
    of a level are such, or where all files lie equally deep after it, and only then.
    """
    level = 0
    while any(len(folder) > level + 1 for folder in folders):
        children: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for folder in folders:
            if len(folder) > level:
                below = folder[level + 1] if len(folder) > level + 1 else ""
                children[folder[: level + 1]].add(below)
        doubled = {
            own
            for own, inside in children.items()
            if {name.casefold() for name in inside} == {own[-1].casefold()}
        }
        shorter = [
            folder[:level] + folder[level + 1 :] if folder[: level + 1] in doubled else folder
            for folder in folders
        ]
        mixed = len({len(folder) for folder in folders}) > 1
        mended = mixed and len({len(folder) for folder in shorter}) == 1
        if doubled and (len(doubled) == len(children) or mended):
            folders = shorter
        else:
            level += 1
    return folders


def copies_within(store: FileStore, folders: Folders, name: str) -> tuple[Folders, dict[int, int]]:
    """Return the folders without a level that repeats all others, and which files are copies.

    Some archives hold everything twice: ``cat``, ``dog`` and ``pets/cat``, ``pets/dog``. The folder
    ``pets`` then says nothing, and those of its files that lie outside it, too, are copies.

    Args:
        store: The files.
        folders: The folders of each, as far as they may mean something.
        name: What the folder that holds everything is called: a folder of that name within may
            also hold other files than those outside.

    Returns:
        The folders of each file, and of each that is a copy the file that it equals to the byte.
    """
    inside: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        if folder:
            inside[folder[0]].add(folder[1] if len(folder) > 1 else "")
    doubling = [
        top for top, names in inside.items() if len(inside) > 2 and names == inside.keys() - {top}
    ]
    if len(doubling) != 1:
        return folders, {}
    top = doubling[0]
    files = [path.rpartition("/")[2] for path in store.paths]
    outside = {
        (folder, file): row
        for row, (folder, file) in enumerate(zip(folders, files, strict=True))
        if not folder or folder[0] != top
    }
    shorter = [folder[1:] if folder and folder[0] == top else folder for folder in folders]
    copies: dict[int, int] = {}
    others = 0
    for row, folder in enumerate(folders):
        if not folder or folder[0] != top:
            continue
        first = outside.get((shorter[row], files[row]))
        if first is not None and _content(store, first) == _content(store, row):
            copies[row] = first
        else:
            others += 1
    if others and top.casefold() != name.casefold():
        return folders, {}
    return shorter, copies


def _content(store: FileStore, row: int) -> bytes | None:
    try:
        return store.read(row)
    except UnreadableImageError:
        return None
