"""Which columns of a table say text, label, site, group and split: as told, or by their names.

A table without a column of texts is one of rows, whose other columns are the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtl.config_key import nearest
from fedtl.errors import UsageError

# What tables call their columns, in lower case and without _ - and space.
_KNOWN_AS: Mapping[str, frozenset[str]] = {
    "text": frozenset(
        {"text", "texts", "sentence", "review", "reviewtext", "content", "document", "doc"}
        | {"message", "body", "comment", "tweet", "abstract", "report", "note", "utterance"}
    ),
    "label": frozenset(
        {"label", "labels", "class", "target", "y", "sentiment", "category", "diagnosis"}
        | {"outcome", "labelname", "classname"}
    ),
    "site": frozenset(
        {"site", "sites", "siteid", "client", "clientid", "hospital", "hospitalid", "center"}
        | {"centre", "institution", "domain", "source"}
    ),
    "group": frozenset(
        {"group", "groupid", "patient", "patientid", "subject", "subjectid", "author", "user"}
        | {"userid"}
    ),
    "split": frozenset({"split", "subset"}),
}
NONE = "none"
"""What stands for no column, whatever columns are called."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table, by what they say; empty for one that there is not.

    Attributes:
        text: The input, if it is a text; empty if it is the row itself.
        label: The class.
        site: Where the example was acquired.
        group: What belongs together.
        split: ``train``, ``val`` or ``test``.
        others: All other columns, in the table's order: the input, if it is the row itself.
        ignored: Columns that a person said are not to be read.
    """

    text: str
    label: str
    site: str
    group: str
    split: str
    others: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Which column is taken for what, and which are not used, for the user; may be empty."""
        taken = [f"{name} as {what}" for what, name in self._said() if name not in ("", what)]
        others = (*self.others, *self.ignored) if self.text else self.ignored
        unused = [f"not used: {', '.join(others)}"] if others else []
        return "; ".join(filter(None, [", ".join(taken), *unused]))

    @property
    def said(self) -> list[str]:
        """The columns that say text, label, site, group or split."""
        return [name for _, name in self._said() if name]

    def _said(self) -> list[tuple[str, str]]:
        return [
            ("text", self.text),
            ("label", self.label),
            ("site", self.site),
            ("group", self.group),
            ("split", self.split),
        ]


def columns_of(
    path: object,
    names: Sequence[str],
    asked: Mapping[str, str],
    *,
    ignored: Sequence[str] = (),
    labelled: bool = True,
) -> Columns:
    """Return which column says what.

    Args:
        path: The table, for messages.
        names: Its columns.
        asked: Columns that the user named, by what they say; ``none`` for none, and empty to find
            one by its name.
        ignored: Columns that are not to be read, whatever they are called.
        labelled: Whether there has to be a label.

    Raises:
        UsageError: A named column is not there, none or several may be the label, several may be
            the text, or one column is to say two things.
    """
    for name in ignored:
        check_column(path, name, names, "--ignored-columns")
    plain = {name: "".join(filter(str.isalnum, name.lower())) for name in names}
    found: dict[str, str] = {}
    for what, known in _KNOWN_AS.items():
        told = asked.get(what, "")
        if told == NONE and NONE not in names:
            found[what] = ""
        elif told:
            check_column(path, told, names, f"--{what}-column")
            found[what] = told
        else:
            taken = {*asked.values(), *ignored} - {NONE, ""}
            like = [name for name in names if plain[name] in known and name not in taken]
            exact = [name for name in like if plain[name] == what]
            doubtful = len(exact or like) > 1 and what == "text"
            if doubtful or (what == "label" and labelled and len(exact or like) != 1):
                several = f"{' and '.join(like)} may be it" if like else "none is called so"
                raise UsageError(
                    f"{path}: which column is the {what} ({several})? Say --{what}-column NAME"
                    f"{', or none to read whole rows' if doubtful else ''}; its columns are "
                    f"{', '.join(names)}"
                )
            found[what] = exact[0] if len(exact) == 1 else like[0] if len(like) == 1 else ""
    said = [name for name in found.values() if name]
    if twice := [name for name in said if said.count(name) > 1]:
        what = " and ".join(what for what, name in found.items() if name == twice[0])
        raise UsageError(f"{path}: the column {twice[0]!r} cannot be {what} at once")
    others = tuple(name for name in names if name not in (*said, *ignored))
    return Columns(**found, others=others, ignored=tuple(ignored))


def check_column(path: object, name: str, names: Sequence[str], option: str) -> None:
    """Refuse a column that a person named and the table has not.

    Raises:
        UsageError: It is not there.
    """
    if name not in names:
        raise UsageError(
            f"{path} has no column {name!r} ({option}){nearest(name, names)} Its columns are "
            f"{', '.join(names)}."
        )


def listed_columns(text: str) -> tuple[str, ...]:
    """Return the columns that an option names, separated by commas."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
