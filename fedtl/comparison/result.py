"""What one run of a comparison came to, as a file that is whole or absent."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from fedtl.config import Scalar
from fedtl.statistics.verdicts import Verdict


@dataclass(frozen=True)
class ClientScore:
    """One client's accuracies on its own held-out examples; ``None`` where it holds out none.

    Attributes:
        examples: Examples it trains on.
        local_only: Of its own head.
        used: Of the head it would use after the federation.
        centralised: Of the head of all data.
        verdict: On the head it would use, against its own; ``None`` for a hostile client.
        corrected: Of the global head, read with its own frequencies of classes.
        corrected_verdict: On that.
    """

    examples: int
    local_only: float | None
    used: float | None
    centralised: float | None
    verdict: Verdict | None
    corrected: float | None
    corrected_verdict: Verdict | None

    @property
    def gain(self) -> float | None:
        """What federation brings it, a fraction."""
        if self.used is None or self.local_only is None:
            return None
        return self.used - self.local_only


@dataclass(frozen=True)
class RoundPoint:
    """The state after one round.

    Attributes:
        server_round: Round, 1 for the first.
        accuracy: Of the global head, on the data's own test split, or else on all held-out
            examples; ``None`` where there is none.
        bytes: That crossed the sites' borders until then, both ways, from the handshake on.
    """

    server_round: int
    accuracy: float | None
    bytes: int


@dataclass(frozen=True)
class CellResult:
    """What one run came to.

    Attributes:
        config: Its configuration, kebab-case keys.
        global_head: Whether there is a global head, which can be ranked.
        own_data: By way of learning (``federated``, ``local_only``, ``centralised`` and, if there
            are, ``personal`` and ``corrected``), the figures of
            :class:`fedtl.federation.evaluation.Summary` on clients' own held-out examples.
        new_data: The same on the global test part; empty without one.
        rounds: One per round.
        clients: In partition-id order.
        failures: Contributions that the rounds did without.
        bytes_up: Bytes from the sites, handshake and closing evaluation included.
        bytes_down: Bytes to them.
        seconds: Of the rounds.
        head_sha256: Of the head.
    """

    config: dict[str, Scalar]
    global_head: bool
    own_data: dict[str, dict[str, float | None]]
    new_data: dict[str, dict[str, float | None]]
    rounds: list[RoundPoint]
    clients: list[ClientScore]
    failures: int
    bytes_up: int
    bytes_down: int
    seconds: float
    head_sha256: str

    @property
    def used(self) -> dict[str, float | None]:
        """The figures of the heads that clients would use: their own, or the global one."""
        return self.own_data.get("personal", self.own_data["federated"])

    @property
    def ranked(self) -> dict[str, dict[str, float | None]]:
        """The figures by which global heads are ranked: on new data, or else on own data."""
        return self.new_data or self.own_data

    @property
    def harmed(self) -> int:
        """How many clients the head that they would use makes worse off, by the test."""
        return sum(client.verdict == "worse" for client in self.clients)

    def reaching(self, target: float) -> RoundPoint | None:
        """Return the first round whose head is as accurate as ``target``."""
        for point in self.rounds:
            if point.accuracy is not None and point.accuracy >= target:
                return point
        return None

    def to_json(self) -> str:
        """Return the result as JSON."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CellResult:
        """Return the result that :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: It is not such a result.
        """
        content: dict[str, Any] = json.loads(text)
        rounds = [RoundPoint(**row) for row in content.pop("rounds")]
        clients = [ClientScore(**row) for row in content.pop("clients")]
        return cls(**content, rounds=rounds, clients=clients)
