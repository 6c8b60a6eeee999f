"""Dealing of rows to clients by flwr-datasets' partitioners, bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import derived_seed, generator
from fedtl.errors import UsageError

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

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
    from flwr_datasets.partitioner import IidPartitioner

    return _dealt(IidPartitioner(request.clients), request.labels, request.clients)


def _dirichlet(request: Request) -> list[Rows]:
    from flwr_datasets.partitioner import DirichletPartitioner

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
    for draw in range(most_draws):
        # The partitioner's own way to repeat a draw takes time quadratic in the clients, so it is
        # told to accept every draw.
        partitioner = DirichletPartitioner(
            num_partitions=clients,
            partition_by="label",
            alpha=float(request.alpha),
            min_partition_size=0,
            shuffle=False,
            seed=derived_seed(request.seed, "partition", draw),
        )
        parts = _dealt(partitioner, request.labels, clients)
        if min(map(len, parts)) >= smallest:
            return parts
    raise UsageError(
        f"none of {most_draws} Dirichlet draws with alpha {request.alpha:g} gave each of {clients} "
        f"clients at least {smallest} of {rows} {request.counted}; raise --alpha, lower --clients "
        "or lower --min-examples"
    )


def _pathological(request: Request) -> list[Rows]:
    from flwr_datasets.partitioner import PathologicalPartitioner

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
    partitioner = PathologicalPartitioner(
        num_partitions=clients,
        partition_by="label",
        num_classes_per_partition=each,
        class_assignment_mode="first-deterministic",
        shuffle=False,
        seed=derived_seed(request.seed, "partition"),
    )
    try:
        return _dealt(partitioner, request.labels, clients)
    except ValueError:
        raise _too_rare_a_class(request) from None


def _classes_in_turn(request: Request) -> list[Rows]:
    """Return a pathological split for fewer clients than classes.

    PathologicalPartitioner draws classes at random and then hardly ever reaches them all, losing
    the rows of the others. Here each client in turn takes the next classes of a shuffled cycle.
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
    from flwr_datasets.partitioner import ShardPartitioner

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
    # ShardPartitioner throws the remainder away. It is dealt the rows but the last of each of the
    # first `extra` shards, and each of those then joins the client of the row before it.
    size, extra = divmod(rows, shards)
    surplus = (size + 1) * np.arange(1, extra + 1) - 1
    even = np.delete(by_label, surplus)
    partitioner = ShardPartitioner(
        num_partitions=request.clients,
        partition_by="label",
        num_shards_per_partition=request.shards_per_client,
        shuffle=False,
        seed=derived_seed(request.seed, "partition"),
    )
    owner = np.empty(rows, dtype=np.int64)
    for client, part in enumerate(_dealt(partitioner, request.labels[even], request.clients)):
        owner[even[part]] = client
    owner[by_label[surplus]] = owner[by_label[surplus - 1]]
    return [np.flatnonzero(owner == client) for client in range(request.clients)]


def _sized(request: Request) -> list[Rows]:
    from flwr_datasets import partitioner as flwr

    growth = request.method.removeprefix("size-")
    kind = {
        "linear": flwr.LinearPartitioner,
        "square": flwr.SquarePartitioner,
        "exponential": flwr.ExponentialPartitioner,
    }[growth]
    try:
        # e to the number of clients overflows; the sizes that follow are then refused as well.
        with np.errstate(all="ignore"):
            return _dealt(kind(request.clients), request.labels, request.clients)
    except ValueError:
        raise UsageError(
            f"--partition {request.method} leaves the first of {request.clients} clients without "
            f"any of {len(request.labels)} {request.counted}; lower --clients"
        ) from None


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


def _dealt(partitioner: Partitioner, labels: NDArray[np.int64], clients: int) -> list[Rows]:
    """Return the positions in ``labels`` that a flwr-datasets partitioner gives each client."""
    from fedtl.data.label_column import LabelColumn

    partitioner.dataset = LabelColumn(labels, np.arange(len(labels)))
    return [partitioner.load_partition(client) for client in range(clients)]
