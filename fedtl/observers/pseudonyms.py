"""Clients' pseudonyms: names that stand for clients whose real names are hidden."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedtl.config import HOLDOUT_PSEUDONYM
from fedtl.csv_cells import read_table
from fedtl.errors import FedtlError
from fedtl.observers.run_folder import RunFolder
from fedtl.preparation.contents import CONTENTS_FILE
from fedtl.results.unseen import UnseenSite

_FILE = "pseudonyms.csv"
# They hold paths, which may name sites and patients; digests of paths tell whoever guesses them.
_PATHS = ("unreadable.csv", "duplicates.csv", CONTENTS_FILE)


def write_pseudonyms(folder: RunFolder, names: Sequence[str]) -> list[str]:
    """Write ``pseudonyms.csv``, the only key to the real names; return the clients' pseudonyms.

    A pseudonym is the partition id, ``client-3``. Ids follow the order of the data, so they hide
    names only from people who do not know the data.

    Args:
        folder: The run's.
        names: The clients' names, in partition-id order.

    Raises:
        FedtlError: The file cannot be written.
    """
    pseudonyms = [f"client-{client}" for client in range(len(names))]
    rows = [
        {"pseudonym": pseudonym, "name": name}
        for pseudonym, name in zip(pseudonyms, names, strict=True)
    ]
    if folder.config.holdout_site:
        rows.append({"pseudonym": HOLDOUT_PSEUDONYM, "name": folder.config.holdout_site})
    folder.write_csv(_FILE, rows)
    return pseudonyms


def read_pseudonyms(folder: RunFolder) -> Mapping[str, str]:
    """Return every client's pseudonym by its name.

    Raises:
        FedtlError: The file is damaged or missing.
    """
    path = folder.path / _FILE
    try:
        rows = read_table(path.read_bytes().decode())
        return {row["name"]: row["pseudonym"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise FedtlError(
            f"{path}, which maps pseudonyms to real names, is damaged or missing: {error}."
        ) from error


def unnamed(folder: RunFolder, sites: list[UnseenSite]) -> list[UnseenSite]:
    """Return unseen sites under their pseudonyms if the run has any.

    A site that is not a client of the run is called ``site-2``, and ``pseudonyms.csv`` says so.
    """
    if not folder.config.pseudonyms:
        return sites
    told = dict(read_pseudonyms(folder))
    for at, site in enumerate(sites):
        told.setdefault(site.name, f"site-{at}")
    rows = [{"pseudonym": pseudonym, "name": name} for name, pseudonym in told.items()]
    folder.write_csv(_FILE, rows)
    return [
        replace(
            site,
            name=told[site.name],
            client_names=[told.get(name, name) for name in site.client_names],
        )
        for site in sites
    ]


def warnings_of(folder: RunFolder) -> list[str]:
    """Return a run's warnings, with pseudonyms in place of clients' names if names are hidden.

    Only whole words are replaced, long names first.
    """
    if not folder.config.pseudonyms or not (folder.path / _FILE).exists():
        return list(folder.remembered.warnings)
    told = read_pseudonyms(folder)
    names = "|".join(re.escape(name) for name in sorted(told, key=len, reverse=True) if name)
    pattern = rf"(?<!\w)(?:{names})(?!\w)"
    return [
        re.sub(pattern, lambda found: told[found[0]], text) for text in folder.remembered.warnings
    ]


def not_to_send(folder: RunFolder) -> str:
    """Return a sentence that names the files of a run that hold real names; at least two."""
    named = [_FILE]
    if folder.config.holdout_site:
        named.append("config.toml")
    named += [name for name in _PATHS if (folder.path / name).exists()]
    files = f"{', '.join(named[:-1])} and {named[-1]}"
    return f"{files} hold real names, or digests of them: do not pass them on."
