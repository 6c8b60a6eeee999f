"""What the server asks every site before the first round: sums for standardisation and start."""

from __future__ import annotations

from collections.abc import Iterator

from flwr.app import ConfigRecord, Message, RecordDict

from fedtl.errors import FedtlError
from fedtl.federation.exchange import Exchange
from fedtl.messages import phases
from fedtl.records import array_record, from_record, metric_record
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import Arrays, Reply
from strategies.base.contract import Starter
from strategies.base.coordinates import in_standardised


def learn_standardisation(exchange: Exchange, width: int) -> Standardisation:
    """Return mean and standard deviation of the ``width`` features, from summed moments.

    Raises:
        FedtlError: No client sent any.
    """
    moments = Moments.sum(
        (_moments(content) for content in _answers(exchange, phases.MOMENTS)), width
    )
    if not moments.count:
        raise FedtlError(f"No client sent feature moments{_first_reason(exchange)}.")
    return Standardisation.from_moments(moments)


def closed_form_start(
    exchange: Exchange,
    starter: Starter,
    standardisation: Standardisation | None,
) -> Arrays:
    """Return the head of the closed form ``starter``, float32, to train from.

    It is solved on raw features and then converted to the features that clients train on:
    standardised ones, or raw ones if the standardisation is ``None``.

    Raises:
        FedtlError: No client sent statistics.
    """
    contents = _answers(exchange, phases.INIT)
    solved = starter.aggregate(
        0, {}, (_statistics(content, starter.reply_record) for content in contents)
    )
    for _ in contents:
        continue  # a strategy may stop reading; the ledger must not
    if solved is None:
        raise FedtlError(
            f"No client sent statistics for {starter.config.strategy}{_first_reason(exchange)}."
        )
    raw = Standardisation.identity(solved["weight"].shape[1])
    return in_standardised(solved, standardisation or raw, starter.start_temperature)


def _answers(exchange: Exchange, kind: str) -> Iterator[RecordDict]:
    """Ask every site and yield the replies of those that answer."""
    content = RecordDict({"config": ConfigRecord({"server-round": 0})})
    questions = [
        Message(content, dst_node_id=node, message_type=kind) for node in exchange.get_node_ids()
    ]
    for reply in exchange.send_and_receive(questions):
        if reply.has_content():
            yield reply.content


def _moments(content: RecordDict) -> Moments:
    arrays = from_record(array_record(content, "moments"))
    return Moments(_examples(content), arrays["total"], arrays["squares"])


def _statistics(content: RecordDict, record: str) -> Reply:
    return Reply(_examples(content), from_record(array_record(content, record)))


def _examples(content: RecordDict) -> int:
    return int(metric_record(content, "metrics")["num-examples"])  # type: ignore[arg-type]


def _first_reason(exchange: Exchange) -> str:
    failures = exchange.phase.failures
    return f": {failures[0].reason.rstrip('.')}" if failures else ""
