"""The result of one run of a comparison, as a file that is complete or absent."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from fedtl.comparison.marks import Marks
from fedtl.config_key import Scalar
from fedtl.statistics.verdicts import Verdict


@dataclass(frozen=True)
class ClientScore:
    """One client's accuracies on its held-out rows.

    Attributes:
        examples: Examples it trains on.
        accuracies: By way of learning; empty if it holds out no rows.
        verdicts: By way of the federation, compared with the client's local-only head; a hostile
            client has none.
    """

    examples: int
    accuracies: dict[str, float]
    verdicts: dict[str, Verdict]

    @property
    def used(self) -> str:
        """The way of learning whose head it would use: its own, or the global one."""
        return "personal" if "personal" in self.accuracies else "federated"

    def gain(self, way: str) -> float | None:
        """Return the gain of a way of learning over its local-only head; else ``None``."""
        if way not in self.accuracies:
            return None
        return self.accuracies[way] - self.accuracies["local_only"]


@dataclass(frozen=True)
class RoundPoint:
    """The state after one round.

    Attributes:
        server_round: Round, 1 for the first.
        accuracy: Of the global head, on the test split, or else on all clients' held-out rows;
            ``None`` if there is none.
        bytes: That crossed the sites' borders until then, both ways, handshake included.
    """

    server_round: int
    accuracy: float | None
    bytes: int


@dataclass(frozen=True)
class CellResult:
    """The result of one run.

    Attributes:
        config: Its configuration, kebab-case keys.
        global_head: Whether there is a global head, which can be ranked.
        own_data: By way of learning (``federated``, ``local_only``, ``centralised`` and, if there
            are, ``personal`` and ``corrected``), the figures of
            :class:`fedtl.federation.evaluation.Summary` on clients' own held-out rows.
        new_data: The same on the test split; empty without one.
        trained: Accuracies, on own data and on new data, of the strategy's training on all clients'
            rows in one place, once for every shuffle; ``None`` without data.
        rounds: One per round.
        marks: Which examples the global head gets right, of the test split, or else of all clients'
            held-out rows; ``None`` without a global head.
        clients: In partition-id order.
        failures: Contributions that are missing from the rounds.
        bytes_up: Bytes from the sites, handshake and closing evaluation included.
        bytes_down: Bytes to them.
        seconds: Of the rounds.
        head_sha256: Of the head.
    """

    config: dict[str, Scalar]
    global_head: bool
    own_data: dict[str, dict[str, float | None]]
    new_data: dict[str, dict[str, float | None]]
    trained: list[tuple[float | None, float | None]]
    rounds: list[RoundPoint]
    marks: Marks | None
    clients: list[ClientScore]
    failures: int
    bytes_up: int
    bytes_down: int
    seconds: float
    head_sha256: str

    @property
    def ranked(self) -> dict[str, dict[str, float | None]]:
        """The figures by which global heads are ranked: on new data, or else on own data."""
        return self.new_data or self.own_data

    @property
    def ranked_training(self) -> list[float]:
        """The accuracies of ``trained`` on what global heads are ranked by."""
        each = [new if self.new_data else own for own, new in self.trained]
        return [accuracy for accuracy in each if accuracy is not None]

    @property
    def harmed(self) -> int:
        """How many clients are worse off with the head they would use, by the test."""
        return sum(client.verdicts.get(client.used) == "worse" for client in self.clients)

    def verdicts(self, way: str, verdict: Verdict) -> int:
        """Return how many clients have this verdict on a way of learning."""
        return sum(client.verdicts.get(way) == verdict for client in self.clients)

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
        told = content.pop("marks")
        marks = None if told is None else Marks(**told)
        trained = [(own, new) for own, new in content.pop("trained")]
        return cls(**content, rounds=rounds, marks=marks, clients=clients, trained=trained)
