"""Who takes part: every site proves version, backbone, classes and feature size first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedtl.errors import FedtlError
from fedtl.federation.exchange import Errors, Exchange, Failure
from fedtl.messages import phases
from fedtl.messages.census import SiteCard
from fedtl.preparation.site import Identity
from fedtl.privacy.egress import EgressError, LedgerEntry
from fedtl.privacy.forms import one_line
from fedtl.records import config_record, metric_record

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Roll:
    """Who takes part.

    Attributes:
        identity: What they have in common.
        partitions: Partition id of every accepted node id.
        cards: By partition id.
        refused: Who does not take part, and why.
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
    """Return the node ids as soon as at least ``clients`` nodes are connected.

    Flower samples from the nodes that are connected when a round begins, so a run must wait.

    Args:
        grid: Knows who is connected.
        clients: How many there must be.
        patience: Seconds to wait for them.
        waits: Called with the number of connected nodes whenever it changes and more are needed.

    Raises:
        FedtlError: They are not connected after ``patience`` seconds.
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


def handshake(
    grid: Grid,
    nodes: Sequence[int],
    clients: int,
    expected: Identity | None,
    errors: Errors | None = None,
) -> Roll:
    """Ask every node who it is and accept those that agree.

    Args:
        grid: What carries the messages.
        nodes: Node ids to ask.
        clients: Number of partitions; a node of a higher partition id is refused.
        expected: What they must match, if the server knows it; otherwise what most of them say (in
            a tie, what the lowest partition id says).
        errors: How unexpected exceptions are handled.

    There is no time limit but Flower's own, twelve hours: before a site's first answer its backbone
    must see every image.

    Raises:
        FedtlError: No client is left. Nodes that claim the same partition are all left out.
    """
    declared = {phases.HANDSHAKE: phases.HANDSHAKE_REPLY}
    provisional = {node: place for place, node in enumerate(nodes)}
    exchange = Exchange(grid, provisional, declared, errors=errors)
    content = RecordDict({"config": ConfigRecord({"server-round": 0})})
    questions = [
        Message(content, dst_node_id=node, message_type=phases.HANDSHAKE) for node in nodes
    ]
    found: dict[int, list[tuple[int, Identity, SiteCard]]] = {}
    for place, reply in enumerate(exchange.send_and_receive(questions)):
        if reply.has_error():
            continue
        try:
            identity, card = _read(reply)
        except EgressError as error:
            exchange.phase.failures.append(Failure(place, f"refused: {error}"))
            continue
        found.setdefault(card.client, []).append((place, identity, card))
    phase = exchange.phase
    refused = list(phase.failures)
    identities, cards, places = {}, {}, {}
    for client, claims in sorted(found.items()):
        if not client < clients:
            reason = f"partition-id {client} is not in 0 to {clients - 1} (clients = {clients})"
            refused += [Failure(client, reason) for _ in claims]
        elif len(claims) > 1:
            reason = (
                f"refused: {len(claims)} nodes claim partition-id {client}, but only one can have "
                "it; give every node its own (--node-config 'partition-id=… num-partitions=…')"
            )
            refused += [Failure(client, reason) for _ in claims]
        else:
            [(places[client], identities[client], cards[client])] = claims
    accepted = sorted(cards)
    if not accepted:
        reasons = "; ".join(failure.reason.rstrip(".") for failure in refused[:3])
        raise FedtlError(f"No client can take part: {reasons}.")
    reference = expected or _most_common([identities[client] for client in accepted])
    for client in list(accepted):
        if mismatch := _mismatch(identities[client], reference):
            accepted.remove(client)
            refused.append(Failure(client, f"refused: {mismatch}"))
    if not accepted:
        raise FedtlError(f"No client can take part: {refused[0].reason.rstrip('.')}.")
    partition_at = {place: client for client, claims in found.items() for place, *_ in claims}
    return Roll(
        identity=reference,
        partitions={nodes[places[client]]: client for client in accepted},
        cards={client: cards[client] for client in accepted},
        refused=refused,
        entries=[
            entry._replace(client=partition_at.get(entry.client, entry.client))
            for entry in phase.entries
        ],
        bytes_down=phase.bytes_down,
        bytes_up=phase.bytes_up,
    )


def _read(reply: Message) -> tuple[Identity, SiteCard]:
    """Return what a site says about itself; its records have their declared form."""
    told = config_record(reply.content, "identity")
    identity = Identity(
        version=str(told["fedtl-version"]),
        fingerprint=str(told["backbone-fingerprint"]),
        feature_size=int(told["feature-size"]),  # type: ignore[arg-type]
        classes=tuple(told["classes"]),  # type: ignore[arg-type]
        table_schema=str(told["table-schema"]),
    )
    census = metric_record(reply.content, "census")
    return identity, SiteCard.read(census, len(identity.classes))


def _most_common(identities: Sequence[Identity]) -> Identity:
    return Counter(identities).most_common(1)[0][0]


def _mismatch(site: Identity, reference: Identity) -> str:
    """Return what differs, with both values; empty if nothing differs."""
    if site.version != reference.version:
        return f"the site runs fedtl {site.version}, the federation {reference.version}"
    if site.table_schema != reference.table_schema and site.table_schema and reference.table_schema:
        return (
            "the site's table-schema says otherwise what columns are than the federation's "
            f"(SHA-256 {one_line(site.table_schema)}, {one_line(reference.table_schema)}); all "
            "sites name the same file (set='table-schema=FILE' in the node config)"
        )
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
            f"the site's classes are {one_line(', '.join(site.classes))}, "
            f"the federation's {one_line(', '.join(reference.classes))}; if it has no example of "
            "some, class-names, in its node config or in the run's configuration, names them all"
        )
    return ""
