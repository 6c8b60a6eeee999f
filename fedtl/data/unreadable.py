"""Why images cannot be decoded, counted by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fedtl.data.dataset import Dataset

_SHOWN = 3
_NUMBER = re.compile(r"-?\d[\d.,]*")


def by_kind(reasons: Iterable[str]) -> str:
    """Return the reasons with how often each occurs: ``200 × signed pixels, 1 × truncated file``.

    Reasons that differ by numbers alone are of one kind; its first one is told.
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
