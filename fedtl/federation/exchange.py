"""The server's view of the sites: one order, every reply checked, every byte in the ledger.

:class:`Exchange` wraps whatever grid carries the messages, ours or Flower's, so that every
strategy, Flower's own included, sees nodes and replies in partition-id order and never sees what
was not declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedtl.fault import FAULT_KIND, Fault, own_place
from fedtl.messages.failure_codes import DROPPED_OUT
from fedtl.privacy.egress import Declaration, EgressError, LedgerEntry, release, weigh
from fedtl.privacy.forms import one_line
from fedtl.records import config_record, metric_record

# Flower's code for a reply that could not be used.
UNUSABLE_REPLY = 2
# Lines of the ledger that an undeclared answer gets.
_FEW = 8


@dataclass(frozen=True)
class Failure:
    """A client whose contribution is missing from a phase.

    Attributes:
        client: Partition id.
        reason: What happened, one sentence.
        intended: Whether the scenario intends it.
        entered: Whether it is an exception that has been reported already.
    """

    client: int
    reason: str
    intended: bool = False
    entered: bool = False


@dataclass
class Phase:
    """What one exchange of messages brought, filled while its replies are read.

    Attributes:
        clients: Partition ids addressed, in order.
        metrics: What is kept of the ``metrics`` record of every usable reply, by partition id.
        failures: Clients without a usable reply.
        bytes_down: Bytes to the sites.
        bytes_up: Bytes from them.
        entries: The ledger's lines.
    """

    clients: list[int]
    metrics: dict[int, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    bytes_down: int = 0
    bytes_up: int = 0
    entries: list[LedgerEntry] = field(default_factory=list)


Check = Callable[[str, int, RecordDict, RecordDict], None]


@dataclass(frozen=True)
class Errors:
    """How unexpected exceptions are handled.

    Attributes:
        enter: Receives each, with the round and the client's partition id, when it occurs.
        believed: Whether an error reply may bring one: clients of this machine's own simulation.
        caught: Whether an exception raised while a reply is read costs only that client, or ends
            the run.
    """

    enter: Callable[[int, int, Fault], None] = lambda server_round, client, fault: None
    believed: bool = False
    caught: bool = True


class Exchange(Grid):
    """A grid over the accepted sites only, in partition-id order.

    Args:
        grid: What carries the messages.
        partitions: Partition id of every accepted node id.
        declared: What a reply to each kind of message may carry.
        digests: By kind of message, what to keep of a reply's metrics; all of it by default, which
            for ten thousand clients is a hundred megabytes.
        check: Checks a reply that is as declared, given its kind, the partition id, its content
            and the content of what it replies to; raises :class:`EgressError`.
        drops_out: Whether a client does not answer in the scenario, by round and partition id.
        errors: How unexpected exceptions are handled.
        timeout: Seconds to wait for the replies of a phase; ``None`` waits for all.

    Attributes:
        partitions: Partition id of every accepted node id.
        standardisation: Added to every message, so that clients need not remember it.
        phase: The current exchange, or the last one.
        left_out: Clients that are not asked, by partition id, and why.
    """

    def __init__(
        self,
        grid: Grid,
        partitions: Mapping[int, int],
        declared: Mapping[str, Declaration],
        digests: Mapping[str, Callable[[MetricRecord], Any]] | None = None,
        timeout: float | None = None,
        *,
        check: Check | None = None,
        drops_out: Callable[[int, int], bool] = lambda server_round, client: False,
        errors: Errors | None = None,
    ) -> None:
        self._grid = grid
        self.partitions = dict(partitions)
        self._nodes = sorted(partitions, key=partitions.__getitem__)
        self._declared = declared
        self._digests = digests or {}
        self._check, self._drops_out = check, drops_out
        self._errors = errors or Errors()
        self.standardisation: ArrayRecord | None = None
        self._timeout = timeout
        self.phase = Phase([])
        self.left_out: dict[int, str] = {}

    def get_node_ids(self) -> Iterable[int]:
        """Return the accepted node ids in partition-id order."""
        return list(self._nodes)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send ``messages`` and yield one reply to each, in partition-id order.

        A reply that is not as declared, and a client that does not answer, come as error replies.
        :attr:`phase` is complete once the iterator is exhausted.
        """
        sent = sorted(messages, key=lambda message: self._partition(message))
        phase = self.phase = Phase([self._partition(message) for message in sent])
        asked = [message for message in sent if self._partition(message) not in self.left_out]
        self._join_standardisation(asked)
        self._enter_down(phase, asked)
        waiting: Iterable[Message] = ()
        if asked:
            waiting = self._grid.send_and_receive(asked, timeout=timeout or self._timeout)
        return self._receive(phase, sent, waiting)

    def _receive(
        self, phase: Phase, sent: Sequence[Message], replies: Iterable[Message]
    ) -> Iterator[Message]:
        place_of = {message.metadata.message_id: place for place, message in enumerate(sent)}
        early: dict[int, Message] = {}
        turn = 0
        for reply in replies:
            # A second answer, or one to a question that was not asked, is nobody's.
            place = place_of.pop(reply.metadata.reply_to_message_id, None)
            if place is None:
                continue
            early[place] = reply
            while turn in early:
                yield self._admit(phase, sent[turn], early.pop(turn))
                turn += 1
        for place in range(turn, len(sent)):
            reason = self.left_out.get(self._partition(sent[place]), "no reply in time")
            reply = early.get(place) or Message(Error(UNUSABLE_REPLY, reason), reply_to=sent[place])
            yield self._admit(phase, sent[place], reply)

    def _admit(self, phase: Phase, instruction: Message, reply: Message) -> Message:
        """Check a reply against its declaration, enter it in the ledger, and pass it on.

        A faulty reply is the failure of its client only.
        """
        client = self._partition(instruction)
        kind = instruction.metadata.message_type
        server_round = _round(instruction.content)
        fault: Fault | None = None
        if reply.has_content():
            try:
                self._read(phase, kind, instruction, reply)
            except Exception as error:  # a site may send anything, and reading it do anything
                told = str(error)
                if not _is_expected(error):
                    if not self._errors.caught:
                        raise
                    fault = Fault.of(error)
                    told = fault.sentence
                reply = Message(Error(UNUSABLE_REPLY, one_line(told)), reply_to=instruction)
        elif self._errors.believed:
            fault = Fault.read(reply.error.reason or "")
        if fault is not None:
            self._errors.enter(server_round, client, fault)
        if reply.has_error():
            intended = reply.error.code == DROPPED_OUT and self._drops_out(server_round, client)
            # A fault's first line is its sentence.
            told = (reply.error.reason or "").partition(f"\n{FAULT_KIND}")[0]
            reason = one_line(told) or "unknown error"
            phase.failures.append(Failure(client, reason, intended, entered=fault is not None))
        return reply

    def _read(self, phase: Phase, kind: str, instruction: Message, reply: Message) -> None:
        """Check an answer and enter it; a refused answer has crossed the border as well."""
        if reply.metadata.src_node_id != instruction.metadata.dst_node_id:
            raise EgressError("the answer came from another node than the one asked")
        client, content = self._partition(instruction), reply.content
        lines = weigh(content)
        try:
            release(content, self._declared[kind])
            if self._check is not None:
                self._check(kind, client, content, instruction.content)
        except Exception:
            lines = _cut(lines)
            raise
        finally:
            server_round = _round(instruction.content)
            for record, shape, size in lines:
                phase.entries.append(LedgerEntry(server_round, client, "up", record, shape, size))
                phase.bytes_up += size
        if "metrics" in content:
            metrics = metric_record(content, "metrics")
            digest = self._digests.get(kind)
            phase.metrics[client] = metrics if digest is None else digest(metrics)

    def _join_standardisation(self, sent: Sequence[Message]) -> None:
        if self.standardisation is not None:
            for message in sent:
                message.content["standardisation"] = self.standardisation

    def _enter_down(self, phase: Phase, sent: Sequence[Message]) -> None:
        weighed: dict[int, tuple[int, list[tuple[str, str, int]]]] = {}
        for message in sent:
            content = message.content
            if id(content) not in weighed:
                weighed[id(content)] = _round(content), weigh(content)
            server_round, lines = weighed[id(content)]
            client = self._partition(message)
            for record, shape, size in lines:
                phase.entries.append(LedgerEntry(server_round, client, "down", record, shape, size))
                phase.bytes_down += size

    def _partition(self, message: Message) -> int:
        return self.partitions[message.metadata.dst_node_id]

    # The rest of Flower's interface is the wrapped grid's.

    def set_run(self, run: Any) -> None:
        """See :class:`flwr.serverapp.Grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See :class:`flwr.serverapp.Grid`; pushing is refused, as no ledger would list it."""
        raise NotImplementedError("use send_and_receive: only what it carries is in the ledger")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See :meth:`push_messages`."""
        raise NotImplementedError("use send_and_receive: only what it carries is in the ledger")


def _is_expected(error: Exception) -> bool:
    """Return whether an error is the reply's fault, not that of the code that reads it."""
    if isinstance(error, ValueError):
        return not own_place(error)
    return isinstance(error, EgressError)


def _cut(lines: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return lines of an undeclared answer as a ledger may hold them: short, and not too many."""
    few = [(one_line(record), one_line(shape), size) for record, shape, size in lines[:_FEW]]
    rest = lines[_FEW:]
    if rest:
        few.append(("others", f"{len(rest):,} records", sum(size for *_, size in rest)))
    return few


def _round(content: RecordDict) -> int:
    return int(config_record(content, "config")["server-round"])  # type: ignore[arg-type]
