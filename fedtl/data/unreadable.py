"""Why images cannot be decoded, counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedtl.data.left_aside import none_left
from fedtl.data.understood import counted

if TYPE_CHECKING:
    from fedtl.data.dataset import Dataset

_SHOWN = 3
_NUMBER = re.compile(r"-?\d[\d.,]*")


def by_kind(reasons: Iterable[str]) -> str:
    """Return the reasons with how often each occurs: ``200 × signed pixels, 1 × truncated file``.

    Reasons that differ only by numbers are of one kind; its first one is told.
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = _NUMBER.sub("#", reason)
        first.setdefault(kind, reason.rstrip("."))
        counts[kind] += 1
    shown = [f"{count:,} × {first[kind]}" for kind, count in counts.most_common(_SHOWN)]
    if others := sum(count for _, count in counts.most_common()[_SHOWN:]):
        shown.append(f"{others:,} × other reasons")
    return ", ".join(shown)


def undecoded(dataset: Dataset, names: Collection[str], *, named: bool = True) -> list[str]:
    """Return the classes and sites all of whose images are unreadable: ``class cross``.

    Args:
        dataset: The data, unreadable images included.
        names: The unreadable images' keys.
        named: Whether sites may be named; otherwise they are counted.
    """
    unreadable = set(names)
    readable = np.array([key not in unreadable for key in dataset.keys], dtype=np.bool_)
    present = np.setdiff1d(dataset.labels, dataset.labels[readable])
    lost = [f"class {dataset.classes[label]}" for label in present]
    if dataset.sites is None:
        return lost
    sites = [f"site {site}" for site in np.setdiff1d(dataset.sites, dataset.sites[readable])]
    if sites and not named:
        sites = ["1 site" if len(sites) == 1 else f"{len(sites):,} sites"]
    return [*lost, *sites]


def left_out(dataset: Dataset, unreadable: Sequence[tuple[str, str]], *, named: bool = True) -> str:
    """Return what to tell of images that are left out; empty if there are none.

    Args:
        dataset: The data, unreadable images included.
        unreadable: Name and reason of each image that could not be decoded.
        named: Whether to tell the first one's name, which may be a site's too.
    """
    if not unreadable:
        return ""
    first = f", first {unreadable[0][0]}" if named else ""
    verb = "is left out" if len(unreadable) == 1 else "are left out"
    reasons = by_kind(reason for _, reason in unreadable)
    emptied = undecoded(dataset, [name for name, _ in unreadable], named=named)
    lost = f"; {none_left(emptied)}" if emptied else ""
    count, unit = counted(len(unreadable), dataset.unit), dataset.unit
    done = "decoded" if unit == "image" else "read"
    return f"{count} could not be {done} and {verb}{first} ({reasons}){lost}"
