"""What a run understood of its data, in one sentence and in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.left_aside import EMPTY_FOLDER

_MOST_CLASSES = 12


@dataclass(frozen=True)
class Understood:
    """Counts of a data set.

    Attributes:
        unit: What an input is: ``image``, ``text``, ``recording`` or ``row``.
        inputs: How many there are, of all parts.
        classes: Inputs of each class, in the order of labels.
        sites: Inputs of each site, by name; empty if no sites are known.
        groups: How many groups there are; ``None`` if none are known.
        group_word: What a group is called: ``patient`` if their names say so.
        test: Inputs of the test split or part.
        test_is_held_out: Whether that part was drawn from data without a test split.
        unseen: Inputs of the holdout-site.
        left_aside: Files or rows that are not used, by kind, most frequent first.
    """

    unit: str
    inputs: int
    classes: Mapping[str, int]
    sites: Mapping[str, int]
    groups: int | None
    group_word: str
    test: int
    test_is_held_out: bool
    unseen: int
    left_aside: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset) -> Understood:
        """Return the counts of a data set."""
        counts = np.bincount(dataset.labels, minlength=len(dataset.classes)).tolist()
        kinds = Counter(one.kind for one in dataset.left_aside if one.kind != EMPTY_FOLDER)
        groups = None if dataset.groups is None else np.unique(dataset.groups)
        return cls(
            unit=dataset.unit,
            inputs=len(dataset),
            classes=dict(zip(dataset.classes, counts, strict=True)),
            sites=_counted(dataset.sites),
            groups=None if groups is None else len(groups),
            group_word=_group_word(groups),
            test=len(dataset.tested),
            test_is_held_out=dataset.test_is_held_out,
            unseen=len(dataset.withheld),
            left_aside=dict(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))),
        )

    @property
    def sentence(self) -> str:
        """The counts in one sentence, without names of sites or groups."""
        parts = [counted(self.inputs, self.unit), self._classes()]
        if self.sites:
            parts.append(counted(len(self.sites), "site"))
        if self.groups is not None:
            parts.append(counted(self.groups, self.group_word))
        if self.test:
            held_out = self.test_is_held_out
            parts.append(f"test {'part' if held_out else 'split'} of {self.test:,}")
            parts[-1] += " held out" if held_out else ""
        else:
            parts.append("no test split")
        if self.unseen:
            parts.append(f"{self.unseen:,} at the holdout-site")
        return ", ".join(parts) + self._left_aside()

    def to_mapping(self) -> dict[str, Any]:
        """Return the counts for JSON, without names of sites."""
        return {
            "unit": self.unit,
            "inputs": self.inputs,
            "classes": dict(self.classes),
            "sites": len(self.sites),
            "groups": self.groups,
            "test": self.test,
            "test_is_held_out": self.test_is_held_out,
            "unseen": self.unseen,
            "left_aside": dict(self.left_aside),
        }

    def each_class(self) -> list[str]:
        """Return every class with its count: ``cat 5``, or ``7: 5`` where names end in digits."""
        colon = ":" if any(name[-1:].isdigit() for name in self.classes) else ""
        return [f"{name}{colon} {inputs:,}" for name, inputs in self.classes.items()]

    def _classes(self) -> str:
        count = len(self.classes)
        if count <= _MOST_CLASSES:
            each = ", ".join(self.each_class())
        else:
            low, high = min(self.classes.values()), max(self.classes.values())
            each = f"{low:,} to {high:,} each" if low < high else f"{low:,} each"
        return f"{count:,} classes ({each})"

    def _left_aside(self) -> str:
        if not self.left_aside:
            return ""
        rows = self.unit == "row" or not any(kind.startswith(".") for kind in self.left_aside)
        word = "row" if rows and self.unit in ("row", "text") else "file"
        return f"; {counted(sum(self.left_aside.values()), word)} left aside: {self.kinds}"

    @property
    def kinds(self) -> str:
        """What is left aside, by kind: ``.heic (12), .txt (1)``."""
        return ", ".join(f"{kind} ({count:,})" for kind, count in self.left_aside.items())


def counted(count: int, what: str) -> str:
    """Return ``1 image`` or ``1,000 images``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _counted(names: NDArray[np.str_] | None) -> dict[str, int]:
    if names is None:
        return {}
    found, counts = np.unique(names, return_counts=True)
    return dict(zip(map(str, found), counts.tolist(), strict=True))


def _group_word(groups: Sequence[str] | NDArray[np.str_] | None) -> str:
    """Return what the groups are: patients if all are called so, else groups."""
    names = [] if groups is None else [str(name).rpartition("/")[2].lower() for name in groups]
    return "patient" if names and all(name.startswith("patient") for name in names) else "group"
