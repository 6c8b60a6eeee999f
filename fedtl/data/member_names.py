"""Members of archives: their names as every archiver writes them, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from fedtl.data.code_pages import code_page_note, decoded_names
from fedtl.errors import UsageError

_DRIVE = re.compile(r"[A-Za-z]:")


def plain_name(archive: Path, name: str) -> str:
    """Return a member's path with slashes, without ``./`` and doubled slashes.

    Archivers on Windows part folders by backslashes.

    Raises:
        UsageError: The name is absolute, or leads out of the archive.
    """
    slashed = name.replace("\\", "/")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if slashed.startswith("/") or _DRIVE.match(slashed):
        raise UsageError(
            f"{archive} holds a file with an absolute name ({name}), so it is not read: pack "
            "the folder again with relative names"
        )
    if ".." in parts:
        raise UsageError(
            f"{archive} holds a file whose name leads out of it ({name}), so it is not read: pack "
            "the folder again"
        )
    return "/".join(parts)


def names_as_meant(archive: Path, raw: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Return members' names that do not say their code page, and what to tell the user about them.

    Args:
        archive: The archive.
        raw: The names as they are written; see ``decoded_names``.
    """
    names, page = decoded_names(raw)
    return names, [code_page_note(archive, names, page)] if page else []


def refuse_link(archive: Path, name: str) -> UsageError:
    """Return the refusal of an archive with a link, which could lead to any file of the machine."""
    return UsageError(
        f"{archive} holds a link ({name}), which is not followed: pack the files themselves, or "
        "unpack it and pass the folder"
    )


def empty_folders(folders: Collection[str], files: Sequence[str]) -> list[str]:
    """Return the folders that are members, but hold neither a file nor a folder; sorted."""
    used = {name.rpartition("/")[0] for name in (*files, *folders)}
    return sorted(
        name
        for name in set(folders) - used
        if name and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    )


def the_one(names: Sequence[str], wanted: str) -> str | None:
    """Return the only name that is ``wanted`` or ends so; ``None`` if there is none or several."""
    found = [name for name in names if name == wanted or name.endswith("/" + wanted)]
    return found[0] if len(found) == 1 else None
