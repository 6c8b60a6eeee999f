"""Keys: what the data are, how they become clients, and how folders of pictures are read."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass

from fedtl.config_key import key
from fedtl.errors import UsageError

# Of partition, what the data and the other keys make of it (see RunConfig.settled); of grey-range,
# what the data hold; of backbone, what kind of input they are.
AUTO = "auto"

# How data is read: a site's own to say, and the same for a whole comparison.
READING_KEYS = (
    "top-level",
    "layout",
    "classes",
    "class-names",
    "min-per-class",
    "group-from",
    "labels",
)
# A head has a row for each class, so that their number bounds what a site computes.
_MOST_CLASSES = 10_000

_DATA, _READING = "Data and partition", "How folders of pictures are read"


@dataclass(frozen=True)
class DataKeys:
    """See :class:`fedtl.config.RunConfig`."""

    data: str = key(
        "hospitals",
        "Folder, .zip or .tar of pictures, texts or recordings (class/file, split/class/file, "
        "site/class/file), a table of texts or rows (.csv, .parquet, …), torchvision:NAME, "
        "medmnist:NAME or FILE, features:FILE.npz or a folder of slides, the rendered default, "
        "hospitals, or module:Class of your own.",
        _DATA,
    )
    partition: str = key(
        AUTO,
        "How data becomes clients: iid, dirichlet, pathological, shard, natural, size-linear, "
        "size-square, size-exponential, file:PARTS.json, or module:Class of your own; auto is "
        "dirichlet, but one hospital per client of rendered data without alpha or hospitals-sites.",
        _DATA,
    )
    min_examples_per_class: int = key(
        0,
        "A client does not train on classes of which it has fewer training examples (or groups, "
        "such as patients); 0 is 5 at real sites and 1 in a simulation.",
        _DATA,
        low=0,
        high=1_000_000,
    )
    shots: int = key(
        0,
        "Labelled training examples of each class that a client has, drawn from its own; the rest "
        "are not used. 0 is all.",
        _DATA,
        low=0,
        high=1_000_000,
    )
    held_out: float = key(
        0.2, "Fraction of each client's data held out for scoring.", _DATA, low=0.0, high=0.9
    )
    test_fraction: float = key(
        0.1,
        "Fraction held out from all clients of data without a test split; 0 is none.",
        _DATA,
        low=0.0,
        high=0.9,
    )
    duplicates: str = key(
        "drop",
        "Examples to be scored that equal a training example: left out of scores, or kept.",
        _DATA,
        choices=("drop", "keep"),
    )
    holdout_site: str = key(
        "",
        "Site that takes part in nothing; every head is scored on it at the end. With simulate, "
        "each: every site in turn, after the run.",
        _DATA,
    )
    data_seed: int = key(
        -1,
        "Seed of rendered images and of random backbone weights; -1 takes seed.",
        _DATA,
        low=-1,
        high=2**63 - 1,
    )

    top_level: str = key(
        "auto",
        "What the outermost folders of several levels are.",
        _READING,
        choices=("auto", "site", "group", "class", "split"),
    )
    layout: str = key(
        "",
        "What each level of folders is, outermost first, of split, site (client), group (patient), "
        "class and - for nothing: split/class, site/class/group; by default read from the names.",
        _READING,
    )
    classes: str = key(
        "auto",
        "How names of classes are compared: fold-case joins those that differ only by case or "
        "space, exact keeps them apart, auto refuses them unless they lie side by side.",
        _READING,
        choices=("auto", "fold-case", "exact"),
    )
    class_names: str = key(
        "",
        "All classes by name, separated by commas: a real site may have no example of some; any "
        "other class is refused. By default, the classes are those that the data has.",
        _READING,
    )
    min_per_class: int = key(
        0,
        "Drop classes with fewer examples (or groups); 0 refuses data with a class of one, but not "
        "at real sites.",
        _READING,
        low=0,
        high=1_000_000,
    )
    group_from: str = key(
        "",
        "Pattern of the folders or files that name what belongs together, such as 'patient_*'; "
        "the group is what (parentheses) enclose, or else the folder, or a file's first *. "
        "PatientID takes the ID in DICOM files, which stays where the files are.",
        _READING,
    )
    labels: str = key(
        "",
        "CSV of file,label (of slides: slide,label) and, if known, site, group, split; in data or "
        "here.",
        _READING,
    )
    grey_range: str = key(
        AUTO,
        "Black and white of grey pictures of more than 8 bits; auto takes what the files of all "
        "clients hold.",
        _READING,
        words=("LOW", "HIGH"),
    )
    window: str = key(
        "",
        "The same as radiologists say it, in units such as Hounsfield's.",
        _READING,
        words=("LEVEL", "WIDTH"),
    )

    @property
    def declared_classes(self) -> tuple[str, ...]:
        """Names of all classes, composed and without outer space; none if ``class-names`` is empty.

        Raises:
            UsageError: They are fewer than two or too many, or one of them is empty or there twice.
        """
        if not self.class_names:
            return ()
        try:
            [row] = csv.reader([self.class_names], skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            row = []
        names = tuple(unicodedata.normalize("NFC", name.strip()) for name in row)
        if not 2 <= len(names) <= _MOST_CLASSES or not all(names):
            raise UsageError(
                f"class-names is not a list of 2 to {_MOST_CLASSES:,} names, separated by commas; "
                'a name that has a comma stands in "quotes".'
            )
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise UsageError(f"class-names has {name!r} {times} times; name each class once.")
        return names

    @property
    def grey_limits(self) -> tuple[float, float] | None:
        """What is black and what is white in pictures of more than 8 bits; ``None`` to find it.

        Raises:
            UsageError: A key is no pair of numbers, or leaves nothing between black and white.
        """
        if self.window:
            if self.grey_range != AUTO:
                raise UsageError(
                    f"window = {self.window!r} and grey-range = {self.grey_range!r} say the same "
                    "in two ways; leave one of them out."
                )
            level, width = _pair("window", self.window, "LEVEL WIDTH")
            if width <= 0:
                raise UsageError(f"window = {self.window!r}: the width must be above 0.")
            return level - width / 2, level + width / 2
        if self.grey_range == AUTO:
            return None
        low, high = _pair("grey-range", self.grey_range, "LOW HIGH")
        if high <= low:
            raise UsageError(f"grey-range = {self.grey_range!r}: LOW must be below HIGH.")
        return low, high


def _pair(name: str, text: str, words: str) -> tuple[float, float]:
    """Return the two numbers of a key's value, separated by a space or a comma."""
    try:
        first, second = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        first = second = math.nan
    if not (math.isfinite(first) and math.isfinite(second)):
        raise UsageError(f"{name} = {text!r} is not two numbers, {words}.")
    return first, second
