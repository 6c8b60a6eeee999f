"""Groups from names: ``--group-from 'patient_*'``, and the hint that names suggest some."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.level_names import GROUP_NAME
from fedtl.errors import UsageError

# A hint is given if so many of the files share what looks like a group with another file.
_MOST_FILES = 0.8


class GroupPattern:
    """A pattern of names that says which files belong together.

    ``*`` stands for any text within a name and ``?`` for any character. A name has to match as a
    whole: a folder's, or the file's with or without its suffix; a pattern with slashes matches as
    many names in a row. The group is the text that parentheses enclose, or else the folder's name,
    or else, of a file's name, the text of the first ``*`` (of all of it without any).

    Args:
        pattern: As the user wrote it.

    Raises:
        UsageError: Its parentheses do not close, or there are several.
    """

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self._parts = pattern.count("/") + 1
        enclosed = pattern.count("(")
        if enclosed != pattern.count(")") or enclosed > 1 or pattern.find(")") < pattern.find("("):
            raise UsageError(
                f"--group-from {pattern}: one pair of parentheses may enclose what names the group"
            )
        wild = {"*": "[^/]*?", "?": "[^/]", "(": "(?P<group>", ")": ")"}
        self._folder = re.compile("".join(wild.get(c) or re.escape(c) for c in pattern))
        if not enclosed and "*" in pattern:
            pattern = pattern.replace("*", "(*)", 1)
        self._file = re.compile("".join(wild.get(c) or re.escape(c) for c in pattern))

    def find(self, folders: tuple[str, ...], name: str) -> tuple[str, int] | None:
        """Return the group of a file and the level of the folder that names it.

        The level is that of the innermost folder that matched, or the number of folders if the
        file's own name did; ``None`` if nothing matches. Outer folders come first.
        """
        names = (*folders, name)
        for start in range(len(names) - self._parts + 1):
            end = start + self._parts
            text = "/".join(names[start:end])
            if end < len(names):
                match = self._folder.fullmatch(text)
            else:
                stem = text.removesuffix(PurePosixPath(name).suffix)
                match = self._file.fullmatch(stem) or self._file.fullmatch(text)
            if match:
                return match.groupdict().get("group") or match[0], end - 1
        return None


def groups_by_pattern(
    pattern: str, paths: Sequence[str], folders: Sequence[tuple[str, ...]]
) -> tuple[NDArray[np.str_], list[tuple[str, ...]]]:
    """Return the group of each file, and its folders without the one that named the group.

    Args:
        pattern: See :class:`GroupPattern`.
        paths: Each file's path, for its name and for messages.
        folders: The folders that each lies in.

    Raises:
        UsageError: A file has no group, or the groups are of no use: one for all, or one a file.
    """
    wanted = GroupPattern(pattern)
    found = [
        wanted.find(own, path.rpartition("/")[2]) for own, path in zip(folders, paths, strict=True)
    ]
    missing = [path for path, match in zip(paths, found, strict=True) if match is None]
    if missing:
        count = "any of" if len(missing) == len(paths) else f"{len(missing):,} of"
        raise UsageError(
            f"--group-from {pattern} does not match {count} {len(paths):,} files, first "
            f"{missing[0]}; every file needs a group: a folder's name or the file's has to match "
            "as a whole, as in 'patient_*' or '(P*)-*'"
        )
    groups = [match[0] for match in found if match is not None]
    distinct = len(set(groups))
    if distinct in (1, len(groups)):
        many = "one group for all files" if distinct == 1 else "a group of its own for every file"
        raise UsageError(
            f"--group-from {pattern} makes {many} (of {paths[0]}: {groups[0]}); enclose what names "
            "the group in parentheses, as in '(P*)-*'"
        )
    left = [
        own[: match[1]] + own[match[1] + 1 :]
        for own, match in zip(folders, found, strict=True)
        if match is not None
    ]
    return np.array(groups), left


def groups_hint(dataset: Dataset, *, natural: bool, named: bool = True) -> str:
    """Return a sentence if names suggest groups and none are declared; else an empty text.

    Args:
        dataset: The data; only names of files are looked at.
        natural: Whether each site is a client: sites that are patients are then meant to be.
        named: Whether to name a group, which may be a patient.
    """
    found = suggested_groups(dataset)
    if found is None or (natural and dataset.sites is not None and found[0] in dataset.sites):
        return ""
    example, count, option = found
    such = f", as the {count:,} of {example} do" if named else ""
    return (
        f"names suggest that images belong together{such}, but no groups are declared, so they may "
        f"lie on both sides of a held-out split and make scores too good; {option} keeps each "
        "group whole"
    )


def suggested_groups(dataset: Dataset) -> tuple[str, int, str] | None:
    """Return a group that names suggest, its images, and the option that declares such groups.

    Names suggest groups if a word such as ``patient`` with its number recurs over files, or if
    file names begin with a number that recurs and go on with another part (``P12-04.jpg``).
    Plain numbering (``img_0001.jpg``), and a beginning that only repeats the class, does not.

    Args:
        dataset: The data; only names of files are looked at.

    Returns:
        ``None`` if groups are declared, or names suggest none.
    """
    if dataset.groups is not None or isinstance(dataset.inputs, np.ndarray):
        return None
    paths = [key.split("/") for key in dataset.keys]
    return _by_word(paths) or _by_beginning(paths, dataset)


def _by_word(paths: Sequence[list[str]]) -> tuple[str, int, str] | None:
    """Look for ``patient_012`` in folders' or files' names."""
    places: Counter[int] = Counter()
    names: dict[int, Counter[str]] = {}
    for path in paths:
        for level, component in enumerate(path):
            match = GROUP_NAME.match(component)
            whole = match and re.fullmatch(r"(?:[ _-].*)?", component[match.end() :])
            last = level == len(path) - 1
            if match and (whole or last):
                level = -1 if last else level
                places[level] += 1
                names.setdefault(level, Counter())[match[0]] += 1
                break
    if not places:
        return None
    level, files = places.most_common(1)[0]
    recurring = {name: count for name, count in names[level].items() if count > 1}
    if files < _MOST_FILES * len(paths) or sum(recurring.values()) < _MOST_FILES * files:
        return None
    if len(names[level]) < 2:
        return None
    name, count = next(iter(recurring.items()))
    stem = re.sub(r"(?:(?<=[ _-])[a-zA-Z])?\d+$", "", name)
    if level >= 0 and (more := {path[level] for path in paths} - set(names[level])):
        after = next(iter(sorted(more))).removeprefix(name)
        separator = after[0] if after[0] in " _-" else "_"
        return name, count, f"--group-from '({stem}*){separator}*'"
    if level == 0:
        return name, count, f"--top-level group (or --group-from '{stem}*')"
    if level > 0:
        return name, count, f"--group-from '{stem}*'"
    return name, count, f"--group-from '{_file_pattern(paths, stem)}'"


def _file_pattern(paths: Sequence[list[str]], stem: str) -> str:
    """Return the pattern that takes the number after ``stem`` out of most files' names."""
    after = Counter(
        match[1]
        for path in paths
        if (match := re.match(re.escape(stem) + r"[a-zA-Z]?\d+([^a-zA-Z0-9]?)", path[-1]))
    )
    separator = after.most_common(1)[0][0] if after else ""
    return f"{stem}*{separator}*" if separator not in ("", ".") else f"{stem}*"


def _by_beginning(paths: Sequence[list[str]], dataset: Dataset) -> tuple[str, int, str] | None:
    """Look for file names whose beginning, up to its first number, recurs in a folder."""
    beginnings: list[tuple[str, str]] = []
    patterns: Counter[str] = Counter()
    for path in paths:
        stem = path[-1].rpartition(".")[0] or path[-1]
        match = re.fullmatch(r"([a-zA-Z]*[^a-zA-Z0-9])?([^\W_]*\d[^\W_]*)([\W_])(.+)", stem)
        if match is None:
            beginnings.append(("", ""))
            continue
        before, _, separator, _ = match.groups(default="")
        # Within a folder: that each class numbers its files from 1 says nothing.
        beginnings.append(("/".join(path[:-1]), before + match[2]))
        patterns[f"{before}*{separator}*"] += 1
        if before:
            # With the class, or the eye, before the number of the patient.
            patterns[f"*{before[-1]}(*){separator}*"] += 1
    counts = Counter(beginnings)
    shared = sum(count for (_, name), count in counts.items() if name and count > 1)
    distinct = len({name for _, name in counts if name})
    if shared < _MOST_FILES * len(paths) or distinct < max(3, 2 * len(dataset.classes)):
        return None
    # Of patterns that take as many files, the first is the narrowest.
    pattern, files = patterns.most_common(1)[0]
    if files < _MOST_FILES * len(paths):
        return None
    name, count = next((name, count) for (_, name), count in counts.items() if name and count > 1)
    return name, count, f"--group-from '{pattern}'"
