"""Which training rows each client holds, drawn once from the seed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.dealing import METHODS, Request, Rows
from fedtl.data.groups import counted, parted_group, units_of
from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.json_file import MOST_BYTES


def partition_rows(
    dataset: Dataset,
    method: str,
    clients: int,
    *,
    seed: int,
    alpha: float,
    classes_per_client: int,
    shards_per_client: int,
    min_size: int,
) -> tuple[list[Rows], list[str]]:
    """Return the training rows of each client, sorted, and the clients' names.

    Every training row goes to exactly one client and no client is empty, but for ``file:``, where
    a row in no list is left out. The rows are shuffled by the seed before they are dealt, so that
    the order of the data does not matter.

    Groups go to clients whole: each is dealt as one row of its most frequent class would be, and
    counts as one.

    Args:
        dataset: The data; its test rows, and those of an unseen site, go to nobody.
        method: ``iid``: equal random parts. ``dirichlet``: each class is dealt in proportions drawn
            from Dir(alpha) (Yurochkin et al., arXiv 1905.12022). ``pathological``: a few classes
            per client. ``shard``: rows sorted by class are cut into equal shards (McMahan et al.,
            arXiv 1602.05629). ``natural``: a client per site. ``size-linear``, ``size-square``,
            ``size-exponential``: random parts whose size grows with the client's number.
            ``file:PARTS.json``: a list of lists of row numbers.
        clients: Number of clients; ``natural`` and ``file:`` have their own.
        seed: The run's seed.
        alpha: ``dirichlet``: concentration, positive; the smaller, the more skewed.
        classes_per_client: ``pathological``: number of classes a client has.
        shards_per_client: ``shard``: number of shards a client has.
        min_size: ``dirichlet``: fewest rows (or groups) a client may have; the draw is repeated
            a bounded number of times (5 to 100, by the clients' number) to get there.

    Raises:
        UsageError: The method is unknown, or the data cannot be split as asked; a site or a list
            has only a part of a group.
    """
    training = dataset.training
    if method == "natural":
        return _by_site(dataset, training)
    if method.startswith("file:"):
        return _numbered(_from_file(Path(method[5:]).expanduser(), dataset))
    deal = METHODS.get(method)
    if deal is None:
        known = [*METHODS, "natural", "file:PARTS.json"]
        close = difflib.get_close_matches(method, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"
        raise UsageError(f"--partition {method} is unknown; {hint}")
    check_clients(dataset, clients)
    units = units_of(training, dataset.labels, dataset.groups)
    order = generator(seed, "partition order").permutation(len(units))
    # The partitioners see the labels that occur, numbered without gaps.
    present, labels = np.unique(units.labels[order], return_inverse=True)
    request = Request(
        method=method,
        labels=labels.astype(np.int64),
        label_count=len(present),
        clients=clients,
        seed=seed,
        alpha=alpha,
        classes_per_client=classes_per_client,
        shards_per_client=shards_per_client,
        min_size=min_size,
        counted=counted(dataset, "training rows"),
    )
    return _numbered([units.rows_of(order[part]) for part in deal(request)])


def check_clients(dataset: Dataset, clients: int) -> None:
    """Refuse a number of clients among which the training rows cannot be dealt.

    Raises:
        UsageError: There is no client, or there are more of them than training rows (or groups).
    """
    rows = len(units_of(dataset.training, dataset.labels, dataset.groups))
    if clients < 1:
        raise UsageError(f"--clients is {clients}, but must be at least 1")
    if clients > rows:
        raise UsageError(
            f"{clients} clients cannot share {rows} {counted(dataset, 'training rows')}; ask for "
            f"at most {rows} clients"
        )


def _numbered(parts: list[Rows]) -> tuple[list[Rows], list[str]]:
    return parts, [f"client-{number}" for number in range(len(parts))]


def _by_site(dataset: Dataset, training: Rows) -> tuple[list[Rows], list[str]]:
    if dataset.sites is None:
        raise UsageError(
            f"--partition natural needs to know each input's site, but {dataset.name} has no "
            "sites; arrange images as site/class/file, give a table or embeddings a site, or "
            "choose another partition"
        )
    names, site = np.unique(dataset.sites[training], return_inverse=True)
    if dataset.groups is not None:
        groups = dataset.groups[training]
        parted = parted_group(groups, site)
        if parted is not None:
            first = int(np.argmax(groups == groups[parted]))
            raise UsageError(
                f"--partition natural would part group {groups[parted]}, which has rows at "
                f"{names[site[first]]} and at {names[site[parted]]}; if these are two that share a "
                "name, let the group's name hold the site (--group-from '*/patient_*'), or else "
                "choose another partition"
            )
    grouped = training[np.argsort(site, kind="stable")]
    starts = np.cumsum(np.bincount(site, minlength=len(names)))[:-1]
    return np.split(grouped, starts), [str(name) for name in names]


def _from_file(path: Path, dataset: Dataset) -> list[Rows]:
    most = MOST_BYTES + 32 * len(dataset)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UsageError(
                f"--partition file: {path} has more than {most:,} bytes, as no list of the "
                "rows of such data has"
            )
        lists = json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--partition file: {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, MemoryError):
        raise UsageError(f"--partition file: {path} is not valid JSON") from None
    if not isinstance(lists, list) or not lists or not all(isinstance(p, list) for p in lists):
        raise UsageError(f"--partition file: {path} must hold a list of lists of row numbers")
    parts = []
    owner = np.full(len(dataset), -1, dtype=np.int64)
    for client, numbers in enumerate(lists):
        where = f"--partition file: {path}: list {client} (counting from 0)"
        if not numbers:
            raise UsageError(f"{where} is empty, but every client needs a row")
        for row in numbers:
            # JSON's true is an int to Python.
            if not isinstance(row, int) or isinstance(row, bool):
                raise UsageError(f"{where} holds {json.dumps(row)}, which is no row number")
            if not 0 <= row < len(dataset):
                raise UsageError(
                    f"{where} holds row {row}, but rows are numbered from 0 to {len(dataset) - 1}"
                )
            if dataset.test[row]:
                raise UsageError(f"{where} holds row {row}, which belongs to the test split")
            if dataset.unseen is not None and dataset.unseen[row]:
                raise UsageError(f"{where} holds row {row}, which belongs to the holdout site")
            if owner[row] >= 0:
                raise UsageError(f"{where} holds row {row}, which list {owner[row]} already has")
            owner[row] = client
        parts.append(np.sort(np.array(numbers, dtype=np.int64)))
    if dataset.groups is not None:
        named = np.flatnonzero(owner >= 0)
        parted = parted_group(dataset.groups[named], owner[named])
        if parted is not None:
            row = int(named[parted])
            raise UsageError(
                f"--partition file: {path}: list {owner[row]} (counting from 0) holds row {row} of "
                f"group {dataset.groups[row]}, other rows of which are in another list; give the "
                "whole group to one client"
            )
    return parts
