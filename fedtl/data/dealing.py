"""Dealing of rows to clients, bounded in time.

The rules and their draws are those of flwr-datasets 0.6 (its ``IidPartitioner`` and so on, without
their shuffles: who holds what is all that is asked), and tests hold them equal. The package itself
would bring eight others (207 MB, of which pyarrow 176), their ceilings on versions, and 2 s of
imports in a process of 150 MB; its rules are the hundred lines below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import derived_seed, generator
from fedtl.errors import UsageError

Rows = NDArray[np.int64]

# How many Dirichlet proportions may be drawn in search of a split that leaves no client short:
# a bound on time, below which a small federation gets a hundred tries.
_DIRICHLET_NUMBERS = 20_000

# Beyond these, numpy's Dirichlet draws underflow or overflow.
_LEAST_ALPHA, _MOST_ALPHA = 1e-6, 1e9


@dataclass(frozen=True)
class Request:
    """What the user asked for; the parameters are those of ``partition_rows``.

    Attributes:
        labels: Label of each training row, in the order in which rows are dealt; every number
            below ``label_count`` occurs.
        label_count: Number of different labels.
        counted: What a row is, for messages: a training row, or a whole group.
    """

    method: str
    labels: NDArray[np.int64]
    label_count: int
    clients: int
    seed: int
    alpha: float
    classes_per_client: int
    shards_per_client: int
    min_size: int
    counted: str = "training rows"


def _iid(request: Request) -> list[Rows]:
    return np.array_split(np.arange(len(request.labels)), request.clients)


def _dirichlet(request: Request) -> list[Rows]:
    rows, clients = len(request.labels), request.clients
    if not _LEAST_ALPHA <= request.alpha <= _MOST_ALPHA:
        raise UsageError(
            f"--alpha is {request.alpha:g}, but must be from {_LEAST_ALPHA:g} to {_MOST_ALPHA:g}"
        )
    smallest = max(request.min_size, 1)
    if clients * smallest > rows:
        raise UsageError(
            f"{clients} clients cannot have {smallest} {request.counted.split()[-1]} each: there "
            f"are {rows} {request.counted}"
        )
    most_draws = max(5, min(100, _DIRICHLET_NUMBERS // (clients * request.label_count)))
    of_label = [np.flatnonzero(request.labels == label) for label in range(request.label_count)]
    for draw in range(most_draws):
        rng = np.random.default_rng(derived_seed(request.seed, "partition", draw))
        owner = np.empty(rows, dtype=np.int64)
        for its in of_label:
            shares = np.cumsum(rng.dirichlet(np.full(clients, float(request.alpha))))
            ends = (shares * len(its)).astype(np.int64)
            ends[-1] = len(its)
            owner[its] = np.searchsorted(ends, np.arange(len(its)), side="right")
        if np.bincount(owner, minlength=clients).min() >= smallest:
            return _parts(owner, clients)
    raise UsageError(
        f"none of {most_draws} Dirichlet draws with alpha {request.alpha:g} gave each of {clients} "
        f"clients at least {smallest} of {rows} {request.counted}; raise --alpha, lower --clients "
        "or lower --min-examples"
    )


def _pathological(request: Request) -> list[Rows]:
    clients, each, count = request.clients, request.classes_per_client, request.label_count
    if not 1 <= each <= count:
        raise UsageError(
            f"--classes-per-client is {each}, but must be from 1 to {count}, the number of classes"
        )
    if clients * each < count:
        raise UsageError(
            f"{clients} clients with {each} of {count} classes each leave classes to nobody; raise "
            "--clients or --classes-per-client"
        )
    if clients < count:
        return _classes_in_turn(request)
    # A client's first class is its own turn's, the others are drawn.
    rng = np.random.default_rng(derived_seed(request.seed, "partition"))
    takers: list[list[int]] = [[] for _ in range(count)]
    for client in range(clients):
        classes = {client % count}
        while len(classes) < each:
            classes.add(int(rng.choice(count, size=1)[0]))
        for label in classes:
            takers[label].append(client)
    owner = np.empty(len(request.labels), dtype=np.int64)
    for label, those in enumerate(takers):
        rows = np.flatnonzero(request.labels == label)
        if len(rows) < len(those):
            raise _too_rare_a_class(request)
        for client, part in zip(those, np.array_split(rows, len(those)), strict=True):
            owner[part] = client
    return _parts(owner, clients)


def _classes_in_turn(request: Request) -> list[Rows]:
    """Return a pathological split for fewer clients than classes.

    Classes drawn at random would hardly ever be all of them, and the rows of the others would be
    lost. Here each client in turn takes the next classes of a shuffled cycle.
    """
    clients, each = request.clients, request.classes_per_client
    cycle = generator(request.seed, "partition classes").permutation(request.label_count)
    pieces: list[list[Rows]] = [[] for _ in range(clients)]
    for place, label in enumerate(cycle):
        turns = range(place, clients * each, request.label_count)
        rows = np.flatnonzero(request.labels == label)
        if len(rows) < len(turns):
            raise _too_rare_a_class(request)
        for turn, piece in zip(turns, np.array_split(rows, len(turns)), strict=True):
            pieces[turn // each].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def _too_rare_a_class(request: Request) -> UsageError:
    return UsageError(
        f"{request.clients} clients with {request.classes_per_client} of {request.label_count} "
        f"classes each need more {request.counted.split()[-1]} of some class than there are; lower "
        "--clients or --classes-per-client"
    )


def _shard(request: Request) -> list[Rows]:
    rows, shards = len(request.labels), request.clients * request.shards_per_client
    if request.shards_per_client < 1:
        raise UsageError(
            f"--shards-per-client is {request.shards_per_client}, but must be at least 1"
        )
    if shards > rows:
        raise UsageError(
            f"{request.clients} clients with {request.shards_per_client} shards each need {shards} "
            f"{request.counted}, but there are {rows}"
        )
    by_label = np.argsort(request.labels, kind="stable")
    # Shards of one size are dealt; the remainder is the last row of each of the first `extra`
    # shards, and each of those then joins the client of the row before it.
    size, extra = divmod(rows, shards)
    surplus = (size + 1) * np.arange(1, extra + 1) - 1
    even = np.delete(by_label, surplus)
    rng = np.random.default_rng(derived_seed(request.seed, "partition"))
    client_of = np.empty(shards, dtype=np.int64)
    client_of[rng.permutation(shards)] = np.repeat(
        np.arange(request.clients), request.shards_per_client
    )
    owner = np.empty(rows, dtype=np.int64)
    owner[even] = np.repeat(client_of, size)
    owner[by_label[surplus]] = owner[by_label[surplus - 1]]
    return _parts(owner, request.clients)


_GROWTHS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "linear": np.positive,
    "square": np.square,
    "exponential": np.exp,
}


def _sized(request: Request) -> list[Rows]:
    rows, clients = len(request.labels), request.clients
    # e to the number of clients overflows; the sizes that follow are then refused as well.
    with np.errstate(all="ignore"):
        units = _GROWTHS[request.method.removeprefix("size-")](np.linspace(1, clients, clients))
        sizes = np.floor(units / units.sum() * rows)
    # The rest joins the largest part. What overflowed is no number, and so not at least 1.
    sizes[-1] += rows - sizes.sum()
    if not sizes.min() >= 1:
        raise UsageError(
            f"--partition {request.method} leaves the first of {clients} clients without "
            f"any of {rows} {request.counted}; lower --clients"
        )
    return np.split(np.arange(rows), np.cumsum(sizes.astype(np.int64))[:-1])


# Each returns, for every client, the positions of its rows in ``Request.labels``.
METHODS: dict[str, Callable[[Request], list[Rows]]] = {
    "iid": _iid,
    "dirichlet": _dirichlet,
    "pathological": _pathological,
    "shard": _shard,
    "size-linear": _sized,
    "size-square": _sized,
    "size-exponential": _sized,
}


def _parts(owner: NDArray[np.int64], clients: int) -> list[Rows]:
    """Return the positions that each client owns, rising."""
    ends = np.cumsum(np.bincount(owner, minlength=clients))
    return np.split(np.argsort(owner, kind="stable"), ends[:-1])
