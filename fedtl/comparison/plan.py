"""Which runs a comparison consists of: strategies × seeds × the values of keys that vary."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import strategies
from fedtl.comparison.axes import check_varies, choices
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.config_key import Scalar
from fedtl.config_keys.data import AUTO
from fedtl.errors import UsageError
from fedtl.known_options import Choice, options_of
from fedtl.transfer.heads import head_of
from strategies.base import IterativeStrategy

Point = tuple[tuple[str, Scalar], ...]
"""Values of the keys that vary, by kebab-case key; empty where none does."""

SEEDS = 5
"""As many as a significant difference takes."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        point: What varies, and its value here.
        strategy: As ``--strategy`` takes it.
        config: The run; ``python -m fedtl.simulate`` with it gives the same head.
    """

    point: Point
    strategy: str
    config: RunConfig

    @property
    def scene(self) -> str:
        """Name of the split, which is the same for all strategies."""
        return "_".join([*_spelt(self.point), f"seed={self.config.seed}"])

    @property
    def name(self) -> str:
        """Name of the cell and of its files."""
        return f"{self.scene}_{self.strategy.replace(':', '.')}"


def settled_base(base: RunConfig, vary: Collection[str], given: Collection[str]) -> RunConfig:
    """Return what all runs share, with what ``partition`` = auto becomes.

    Args:
        base: As it was given.
        vary: Keys that vary; if who holds what is among them, it is dealt from one pool.
        given: Keys that a person set.
    """
    if base.partition == AUTO and not {"alpha", "clients", "partition"}.isdisjoint(vary):
        base = base.replace(partition="dirichlet")
    return base.settled(given)


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        base: The configuration that all runs share; its ``seed`` is the first.
        strategies: As ``--strategy`` takes them.
        seeds: Number of seeds.
        vary: The values of each key that varies.
        target: Accuracy for which rounds and bytes are reported; 0 is 95 % of the best.
        tune: Trials of each strategy's own search; 0 uses the configured hyper-parameters.

    Raises:
        UsageError: A strategy is unknown, given twice, or does not fit; a key cannot vary; a value
            is out of range.
    """

    base: RunConfig
    strategies: tuple[str, ...]
    seeds: int = SEEDS
    vary: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    target: float = 0.0
    tune: int = 0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("seeds", self.seeds, 1, 10_000),
            ("target", self.target, 0, 1),
            ("tune", self.tune, 0, 100_000),
        ):
            if not low <= value <= high:
                raise UsageError(f"{name} = {value} is not from {low} to {high:,}.")
        if not self.strategies:
            raise UsageError("A comparison needs strategies: --strategies fedavg,fed3r.")
        _no_twins("strategies", self.strategies)
        for key, values in self.vary.items():
            check_varies(key, (*self._others, *self.base.chosen))
            _no_twins(key, values)
        for cell in self.cells():
            # An unknown strategy, or one that the head does not suit, is told before anything runs.
            strategies.build(cell.config, head_of(cell.config, features=1, classes=2))

    @property
    def points(self) -> list[Point]:
        """Every combination of what varies."""
        each = [[(key, value) for value in values] for key, values in self.vary.items()]
        return list(itertools.product(*each))

    def cells(self) -> Iterator[Cell]:
        """Yield the runs, point by point, seed by seed, strategy by strategy.

        Runs without an attack, with which runs under attack are compared, come last.
        """
        clean = [self.without_attack(point) for point in self.points]
        beside = [point for point in dict.fromkeys(clean) if point not in {None, *self.points}]
        for point in [*self.points, *(point for point in beside if point is not None)]:
            for seed in range(self.base.seed, self.base.seed + self.seeds):
                for strategy in self.strategies:
                    yield Cell(point, strategy, self._config(point, seed, strategy))

    def without_attack(self, point: Point) -> Point | None:
        """Return the same point without its attack; ``None`` if there is no attack.

        Points that differ only in their attack share it.
        """
        attack = dict(point).get("attack", self.base.attack)
        if attack == "none":
            return None
        if "none" in self.vary.get("attack", ()):
            return tuple((key, "none" if key == "attack" else value) for key, value in point)
        attacks = self.vary.get("attack", (self.base.attack,))
        its = {"attack", *options_of(*choices({"attack": attacks}))}
        kept = tuple((key, value) for key, value in point if key not in its)
        return (*kept, ("attack", "none"))

    @property
    def _others(self) -> tuple[Choice, ...]:
        return choices({**self.vary, "strategy": self.strategies})

    def _config(self, point: Point, seed: int, strategy: str) -> RunConfig:
        varied = from_mapping(
            dict(point), where="the comparison", base=self.base, others=self._others
        )
        chosen = strategies.load(strategy)
        # Closed forms are solved on the features of the same network, as it is.
        trains = issubclass(chosen, IterativeStrategy)
        return varied.replace(
            seed=seed,
            strategy=strategy,
            data_seed=self.base.inputs_seed,
            # What needs one round alone, and what brings own heads, go beside those that do not.
            init="none" if chosen.one_round or chosen.own_start else varied.init,
            trainable_blocks=varied.trainable_blocks if trains else 0,
            train_from=varied.train_from if trains else "",
            personalise=0 if chosen.own_heads else varied.personalise,
            prior_correction=varied.prior_correction and not chosen.own_heads,
            # Every strategy's clients are scored on the same rows.
            own_data_rows="all" if varied.own_data_rows == "all" else "held-out",
            name="",
            out="",
        )

    def to_json(self) -> str:
        """Return the plan as JSON."""
        content = {
            "strategies": self.strategies,
            "seeds": self.seeds,
            "vary": self.vary,
            "target": self.target,
            "tune": self.tune,
            "config": self.base.to_mapping(),
        }
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Plan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            UsageError: It is not such a plan.
        """
        try:
            content = json.loads(text)
            compared = tuple(content["strategies"])
            vary = {key: tuple(values) for key, values in content["vary"].items()}
            others = choices({**vary, "strategy": compared})
            return cls(
                base=from_mapping(content["config"], where=where, others=others),
                strategies=compared,
                seeds=int(content["seeds"]),
                vary=vary,
                target=float(content["target"]),
                tune=int(content["tune"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{where} is not a plan of a comparison: {error!r}.") from error


def _no_twins(what: str, values: Sequence[Any]) -> None:
    if twins := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise UsageError(f"{what} has {twins[0]!r} more than once.")


def _spelt(point: Point) -> list[str]:
    return [f"{key}={value}" for key, value in point]


def point_label(point: Point) -> str:
    """Return what varies as ``"alpha 0.1, fraction 0.5"``."""
    return ", ".join(f"{key} {value_text(value)}" for key, value in point)


def value_text(value: Scalar) -> str:
    """Return a value as people write it: ``"100"``, not ``"100.0"``."""
    return f"{value:g}" if isinstance(value, float) else str(value)
