"""The outcome of a federation, from what its clients report at the end."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.federation.evaluation import ClientEvaluation, ClientTallies
from fedtl.federation.handshake import Roll
from fedtl.statistics.calibration import best_temperature, cross_fitted_error
from fedtl.statistics.intervals import Pairs
from fedtl.transfer.lone_head import Method
from fedtl.transfer.standardisation import Standardisation
from strategies.base import Arrays, HeadStrategy


@dataclass(frozen=True)
class Outcome:
    """The outcome of a federation.

    Attributes:
        strategy: With its head's form.
        arrays: The final head.
        standardisation: Of the features that the head expects; ``None`` if it takes them raw.
        roll: Who took part.
        rounds: Rounds that were run.
        federated: Every client's scores of the final head; of its own head if the strategy has no
            whole global one.
        local_only: Every client's scores of its local-only head.
        personal: Every client's scores of its personal head; ``None`` if clients have none.
        corrected: Every client's scores of the global head, read with its own frequencies of
            classes; ``None`` where there is no global head.
        zero_shot: Every client's scores of the head of the classes' names; ``None`` if the run
            has none.
        pairs: What heads got right, paired with each client's local-only head, by kind of head
            (``federated``, ``personal``, ``corrected``, ``zero_shot``) and client.
        methods: What each client's local-only head was solved by.
        temperature: The temperature at which all clients' held-out rows are likeliest under the
            final head; ``None`` if it was not fitted.
        tempered_error: Calibration error with it, each client judged by the others' temperature;
            ``None`` if it is unknown.
        failures: ``(round, client, reason)``; round 0 is the handshake.
        bytes_up: Bytes from the sites.
        bytes_down: Bytes to them.
        seconds: Of every round.
        closing_seconds: Of the closing evaluation.
    """

    strategy: HeadStrategy
    arrays: Arrays
    standardisation: Standardisation | None
    roll: Roll
    rounds: int
    federated: dict[int, ClientTallies]
    local_only: dict[int, ClientTallies]
    personal: dict[int, ClientTallies] | None
    corrected: dict[int, ClientTallies] | None
    zero_shot: dict[int, ClientTallies] | None
    pairs: dict[str, dict[int, Pairs]]
    methods: dict[int, Method]
    temperature: float | None
    tempered_error: float | None
    failures: list[tuple[int, int, str]]
    bytes_up: int
    bytes_down: int
    seconds: list[float]
    closing_seconds: float

    @classmethod
    def of(
        cls,
        told: dict[int, ClientEvaluation],
        *,
        strategy: HeadStrategy,
        arrays: Arrays,
        standardisation: Standardisation | None,
        roll: Roll,
        rounds: int,
        failures: list[tuple[int, int, str]],
        bytes_up: int,
        bytes_down: int,
        seconds: list[float],
        closing_seconds: float,
    ) -> Outcome:
        """Return the outcome; ``told`` holds each client's answer to the closing evaluation."""
        calibration = [
            one.calibration for _, one in sorted(told.items()) if one.calibration is not None
        ]
        return cls(
            strategy=strategy,
            arrays=arrays,
            standardisation=standardisation,
            roll=roll,
            rounds=rounds,
            federated={client: one.federated for client, one in told.items()},
            local_only={client: one.local_only for client, one in told.items()},
            personal={c: one.personal for c, one in told.items() if one.personal is not None}
            or None,
            corrected={c: one.corrected for c, one in told.items() if one.corrected is not None}
            or None,
            zero_shot={c: one.zero_shot for c, one in told.items() if one.zero_shot is not None}
            or None,
            pairs={
                kind: {c: one.pairs[kind] for c, one in told.items() if kind in one.pairs}
                for kind in ("federated", "personal", "corrected", "zero_shot")
            },
            methods={client: one.method for client, one in told.items()},
            temperature=best_temperature(calibration),
            tempered_error=cross_fitted_error(calibration),
            failures=failures,
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            seconds=seconds,
            closing_seconds=closing_seconds,
        )
