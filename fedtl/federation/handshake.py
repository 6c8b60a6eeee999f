"""Who takes part: every site proves version, backbone, classes and feature size first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedtl.errors import FedtlError
from fedtl.federation import phases
from fedtl.federation.exchange import Exchange, Failure
from fedtl.privacy.egress import LedgerEntry
from fedtl.records import config_record, metric_record

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Identity:
    """What all sites of a federation must have in common.

    Attributes:
        version: Version of fedtl.
        fingerprint: Backbone fingerprint.
        feature_size: d.
        classes: Class names, in label order.
    """

    version: str
    fingerprint: str
    feature_size: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class SiteCard:
    """What a site told about its data.

    Attributes:
        client: Partition id.
        examples: Training examples.
        held_out: Held-out examples.
        label_counts: Examples of each class, both parts together.
    """

    client: int
    examples: int
    held_out: int
    label_counts: tuple[int, ...]


@dataclass(frozen=True)
class Roll:
    """Who takes part.

    Attributes:
        identity: What they have in common.
        partitions: Partition id of every accepted node id.
        cards: By partition id.
        refused: Who does not, and why.
        entries: The handshake's lines for the ledger.
        bytes_down: Bytes to the sites.
        bytes_up: Bytes from them.
    """

    identity: Identity
    partitions: dict[int, int]
    cards: dict[int, SiteCard]
    refused: list[Failure]
    entries: list[LedgerEntry]
    bytes_down: int
    bytes_up: int

    @property
    def class_counts(self) -> tuple[int, ...]:
        """All clients' examples of each class, held-out ones included."""
        counts = zip(*(card.label_counts for card in self.cards.values()), strict=True)
        return tuple(map(sum, counts))


def wait_for_nodes(
    grid: Grid, clients: int, *, patience: float, waits: Callable[[str], None]
) -> list[int]:
    """Return the node ids, once at least ``clients`` of them are connected.

    Flower samples from whoever is there when a round begins, so a run must not begin before.

    Args:
        grid: Knows who is connected.
        clients: How many there must be.
        patience: Seconds to wait for them.
        waits: Told how many are there whenever that changes and more are needed.

    Raises:
        FedtlError: They are not there after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    told = -1
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= clients:
            return nodes
        if len(nodes) != told:
            told = len(nodes)
            waits(f"waiting for clients: {told:,} of {clients:,} are connected")
        if time.monotonic() > deadline:
            raise FedtlError(
                f"Only {len(nodes)} of {clients} clients are connected after {patience:.0f} s; "
                f"start the others (with Flower's simulation: --federation-config "
                f'"num-supernodes={clients}"), or set clients = {max(len(nodes), 1)}.'
            )
        time.sleep(_POLL_SECONDS)


def handshake(grid: Grid, nodes: Sequence[int], clients: int, expected: Identity | None) -> Roll:
    """Ask every node who it is and accept those that agree.

    Args:
        grid: What carries the messages.
        nodes: Node ids to ask.
        clients: Number of partitions; a node of a higher partition id is refused.
        expected: What to hold them against, where the server knows; otherwise what most of them
            say (of equally many, the one with the lowest partition id).

    There is no time limit but Flower's own, twelve hours: a site's first answer may have to wait
    for its backbone to see every image.

    Raises:
        FedtlError: Nobody is left, or two nodes claim the same partition.
    """
    declared = {phases.HANDSHAKE: phases.HANDSHAKE_REPLY}
    provisional = {node: place for place, node in enumerate(nodes)}
    exchange = Exchange(grid, provisional, declared)
    content = RecordDict({"config": ConfigRecord({"server-round": 0})})
    questions = [
        Message(content, dst_node_id=node, message_type=phases.HANDSHAKE) for node in nodes
    ]
    identities: dict[int, Identity] = {}
    cards: dict[int, SiteCard] = {}
    node_of: dict[int, int] = {}
    place_to_partition: dict[int, int] = {}
    for place, reply in enumerate(exchange.send_and_receive(questions)):
        if reply.has_error():
            continue
        try:
            identity, card = _read(reply)
        except (KeyError, TypeError, ValueError) as error:  # a site of quite another version
            reason = f"refused: its answer cannot be read ({type(error).__name__}: {error})"
            exchange.phase.failures.append(Failure(place, reason))
            continue
        if card.client in node_of:
            raise FedtlError(
                f"Two nodes claim partition-id {card.client}; give every node its own "
                "(--node-config 'partition-id=… num-partitions=…')."
            )
        identities[card.client], cards[card.client] = identity, card
        node_of[card.client] = nodes[place]
        place_to_partition[place] = card.client
    phase = exchange.phase
    refused = list(phase.failures)
    accepted = sorted(client for client in cards if 0 <= client < clients)
    refused += [
        Failure(client, f"partition-id {client} is not in 0 to {clients - 1} (clients = {clients})")
        for client in sorted(cards)
        if not 0 <= client < clients
    ]
    if not accepted:
        reasons = "; ".join(failure.reason for failure in refused[:3])
        raise FedtlError(f"No client can take part: {reasons}.")
    reference = expected or _most_common([identities[client] for client in accepted])
    for client in list(accepted):
        if mismatch := _mismatch(identities[client], reference):
            accepted.remove(client)
            refused.append(Failure(client, f"refused: {mismatch}"))
    if not accepted:
        raise FedtlError(f"No client can take part: {refused[0].reason}.")
    return Roll(
        identity=reference,
        partitions={node_of[client]: client for client in accepted},
        cards={client: cards[client] for client in accepted},
        refused=refused,
        entries=[
            entry._replace(client=place_to_partition.get(entry.client, entry.client))
            for entry in phase.entries
        ],
        bytes_down=phase.bytes_down,
        bytes_up=phase.bytes_up,
    )


def _read(reply: Message) -> tuple[Identity, SiteCard]:
    identity = config_record(reply.content, "identity")
    census = metric_record(reply.content, "census")
    return (
        Identity(
            version=str(identity["fedtl-version"]),
            fingerprint=str(identity["backbone-fingerprint"]),
            feature_size=int(identity["feature-size"]),  # type: ignore[arg-type]
            classes=tuple(identity["classes"]),  # type: ignore[arg-type]
        ),
        SiteCard(
            client=int(census["partition-id"]),  # type: ignore[arg-type]
            examples=int(census["num-examples"]),  # type: ignore[arg-type]
            held_out=int(census["held-out"]),  # type: ignore[arg-type]
            label_counts=tuple(census["label-counts"]),  # type: ignore[arg-type]
        ),
    )


def _most_common(identities: Sequence[Identity]) -> Identity:
    return Counter(identities).most_common(1)[0][0]


def _mismatch(site: Identity, reference: Identity) -> str:
    """Return what differs, both values named; empty where nothing does."""
    if site.version != reference.version:
        return f"the site runs fedtl {site.version}, the federation {reference.version}"
    if site.fingerprint != reference.fingerprint:
        return (
            f"the site's backbone has fingerprint {site.fingerprint}, "
            f"the federation's {reference.fingerprint}"
        )
    if site.feature_size != reference.feature_size:
        return (
            f"the site's features have size {site.feature_size}, "
            f"the federation's {reference.feature_size}"
        )
    if site.classes != reference.classes:
        return (
            f"the site's classes are {', '.join(site.classes)}, "
            f"the federation's {', '.join(reference.classes)}"
        )
    return ""
