"""``--data FOLDER``: images of a folder or archive, labelled by folders or by a table."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from pathlib import Path

from fedtl.data.class_names import AS_READ
from fedtl.data.dataset import Dataset
from fedtl.data.image_folder import image_folder
from fedtl.data.label_table import labelled_images
from fedtl.data.sources.base import Source
from fedtl.errors import UsageError
from fedtl.kinds import KINDS


@dataclass(frozen=True)
class Reading:
    """How a folder or zip of images is to be read.

    Attributes:
        top_level: What the outermost of several levels of folders is: see ``read_layout``.
        layout: What every level of folders is: see ``parse_layout``; empty to guess.
        group_from: Pattern of the names that say what belongs together: see ``GroupPattern``.
        labels: Table of labels, sites and groups (see ``labelled_images``); empty if folders say
            them.
        classes: How names of classes are compared: see ``as_a_person_reads``.
        declared_classes: All classes by name; none to take those of the data.
        min_per_class: Inputs, or groups, below which a class is dropped.
    """

    top_level: str = "auto"
    group_from: str = ""
    labels: str = ""
    layout: str = ""
    classes: str = AS_READ
    declared_classes: tuple[str, ...] = ()
    min_per_class: int = 0


class Folder(Source):
    """Images of a folder, .zip or .tar: what is no other source's name."""

    def open(self) -> Dataset:
        """See :class:`Source`."""
        settings = {field.name: getattr(self.config, field.name) for field in fields(Reading)}
        return images(_folder_or_zip(self.argument), Reading(**settings))


SOURCE = Folder


def images(path: Path, reading: Reading) -> Dataset:
    """Return the images of a folder or archive; see ``image_folder``, ``labelled_images``."""
    if reading.labels:
        if reading.layout:
            raise UsageError(
                f"--labels {reading.labels} says what folders would, so --layout {reading.layout} "
                "has no effect; leave one of them out"
            )
        return labelled_images(path, reading.labels, group_from=reading.group_from)
    return image_folder(
        path,
        top_level=reading.top_level,
        group_from=reading.group_from,
        layout=reading.layout,
    )


def _folder_or_zip(spec: str) -> Path:
    path = Path(spec).expanduser()
    if path.exists():
        if path.suffix == ".npz":
            raise UsageError(f"--data {spec} is a .npz: write features:{spec} or medmnist:{spec}")
        return path
    kind, colon, rest = spec.partition(":")
    source = KINDS["data"]
    named = source.available()
    known = [f"{name}:" if name in source.with_argument else name for name in named]
    close = difflib.get_close_matches(kind + colon, known, n=1, cutoff=0.75)
    hint = (
        f"did you mean {close[0]}{rest}?"
        if close
        else "a folder, a .zip or a .tar of images is expected"
    )
    raise UsageError(f"--data {spec}: there is no such folder or file; {hint}")
