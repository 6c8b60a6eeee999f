"""Files of a data set that are not read, counted by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from fedtl.data.image_formats import content_kind, picture_suffixes, remedy_of, suffix_of
from fedtl.data.input_kinds import PICTURE, SOUND, TEXT, InputKind

HIDDEN = "hidden"
NO_SUFFIX = "without suffix"
EMPTY_FOLDER = "empty folder"

# What systems put beside a user's files, and nobody means by data.
_OF_SYSTEMS = frozenset({".ds_store", "thumbs.db", "desktop.ini", "icon\r", "__macosx"})
_FIRST_NAMED = 3
# What libsndfile decodes, by the names that people give it.
_SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".caf", ".opus"})
_TEXTS = frozenset({".txt"})


@dataclass(frozen=True)
class LeftAside:
    """A file, or an empty folder, that no picture was read from.

    Attributes:
        path: Relative, with slashes.
        kind: A suffix such as ``.heic``, ``hidden``, ``without suffix`` or ``empty folder``, or
            what else it is.
        told: Whether a note of the data tells of it already.
    """

    path: str
    kind: str
    told: bool = False

    @property
    def reason(self) -> str:
        """Why it was left aside, and what would make it readable."""
        if self.kind == EMPTY_FOLDER:
            return "the folder holds no file"
        remedy = remedy_of(self.kind)
        return f"left aside: {self.kind}" + (f"; {remedy}" if remedy else "")


def sorted_out(
    names: Iterable[str], head: Callable[[str], bytes], wanted: InputKind | None = None
) -> tuple[InputKind, list[str], list[LeftAside]]:
    """Return the inputs among some files, sorted, and the others except those of systems.

    Inputs are pictures; where there are none, recordings; where there are none either, texts that
    lie in two folders or more, which name their classes.

    Args:
        names: Relative paths with slashes.
        head: Returns a file's first bytes; asked where the name does not tell what it is.
        wanted: The kind of input, if it is known.
    """
    pictures: list[str] = []
    others: list[LeftAside] = []
    for name in names:
        *folders, last = name.split("/")
        if last.startswith("._") or any(part.lower() in _OF_SYSTEMS for part in (*folders, last)):
            continue
        suffix = suffix_of(last)
        if last.startswith(".") or any(part.startswith(".") for part in folders):
            # Programs keep much in hidden folders; only a picture there might be missed.
            if suffix in picture_suffixes():
                others.append(LeftAside(name, HIDDEN))
            continue
        kind = suffix or content_kind(head(name))
        if kind == "picture" or kind in picture_suffixes():
            pictures.append(name)
        else:
            others.append(LeftAside(name, kind or NO_SUFFIX))
    read_as = PICTURE if wanted is None else wanted
    for kind_of_file, suffixes in ((SOUND, _SOUNDS), (TEXT, _TEXTS)):
        found = {one.path for one in others if one.kind in suffixes}
        places = {path.rpartition("/")[0] for path in found}
        # A lone folder of texts is notes beside something else.
        meant = not pictures and bool(found) and (kind_of_file == SOUND or len(places) > 1)
        if kind_of_file == wanted or (wanted is None and meant):
            others += [LeftAside(name, suffix_of(name) or NO_SUFFIX) for name in pictures]
            read_as, pictures = kind_of_file, list(found)
            others = [one for one in others if one.path not in found]
            break
    return read_as, sorted(pictures), sorted(others, key=lambda other: other.path)


def told(left_aside: Collection[LeftAside], emptied: Sequence[str] = ()) -> str:
    """Return a sentence on the files that are left aside; empty if there is nothing to tell.

    Args:
        left_aside: The files.
        emptied: Classes and sites that have nothing left: ``class cross``.
    """
    kinds = Counter(each.kind for each in left_aside if each.kind != EMPTY_FOLDER)
    parts = []
    if kinds:
        files = "1 file" if kinds.total() == 1 else f"{kinds.total():,} files"
        counted = ", ".join(f"{kind} ({count:,})" for kind, count in kinds.most_common())
        parts.append(f"{files} left aside: {counted}")
    parts += [none_left(emptied)] if emptied else []
    parts += [
        f"{count:,} {kind} {'file' if count == 1 else 'files'}: {remedy}"
        for kind, count in kinds.most_common()
        if (remedy := remedy_of(kind))
    ]
    return "; ".join(parts)


def none_left(emptied: Sequence[str]) -> str:
    """Return a sentence that these classes and sites have nothing left; it names the first few."""
    more = len(emptied) - _FIRST_NAMED
    names = ", ".join(emptied[:_FIRST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{names} {'has' if len(emptied) == 1 else 'have'} none left"
