"""The one description of a run: a frozen dataclass that CLI flags, TOML and Flower spell alike.

Every key has one kebab-case name. ``--learning-rate 0.1`` on the command line, ``learning-rate =
0.1`` in a TOML file and ``learning-rate`` in Flower's run config are the same thing, checked in the
same place and written into the run folder as the effective configuration.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedtl.config_key import Scalar, check, kebab, nearest
from fedtl.config_keys.data import AUTO
from fedtl.config_keys.every import EveryKey, defaults, rules
from fedtl.errors import UsageError
from fedtl.kinds import CHOOSING_KEYS, KINDS, NO_PART, NO_STARTER, listed
from fedtl.known_options import Choice, find_option, options_of, shipped_option
from fedtl.options import checked, others_than_default

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# What partition = auto and hospitals-sites = 0 come to: see RunConfig.settled.
_POOLED, _POOLED_SITES, _OWN_MIX, _FEWEST_PICTURES = "dirichlet", 5, 3.0, 20
# What init = auto, local-epochs = 0 and rounds = 0 come to where blocks are trained. With
# one epoch as many rounds gained less than half as much of two data sets.
_START, _BLOCKS_EPOCHS, _BLOCKS_ROUNDS = "fed3r", 4, 10
_ROUNDS = 50

HOLDOUT_PSEUDONYM = "unseen-site"
"""What the holdout-site is called if clients have pseudonyms."""
_MOST_SAMPLES = 100
# The rendered hospitals' pictures are nobody's.
_RENDERED_SAMPLES = 9


@dataclass(frozen=True, init=False)
class RunConfig(EveryKey):
    """Everything a run depends on, besides the data itself.

    Args:
        options: Options of parts, by kebab-case key, as another configuration holds them.
        keys: Keys, and options of parts, by Python name (``fedprox_mu``).

    Attributes:
        options: The options that are not as by default, in order of their keys. A part's own
            are read as its ``options``.

    Raises:
        UsageError: A key is unknown, a value is outside its range, or two contradict each other.
    """

    options: tuple[tuple[str, Scalar], ...] = ()

    def __init__(self, options: tuple[tuple[str, Scalar], ...] = (), **keys: Scalar) -> None:
        for name, default in defaults().items():
            object.__setattr__(self, name, keys.pop(name, default))
        object.__setattr__(self, "options", options)
        if keys:
            object.__setattr__(self, "options", self._with({kebab(k): v for k, v in keys.items()}))
        self._check()

    def _check(self) -> None:
        for name, default in defaults().items():
            # A default obeys its rule, and of a hundred keys few are given.
            if (value := getattr(self, name)) is not default:
                check(kebab(name), value, rules()[kebab(name)])
        for key in ("partition", "attack", "head"):
            if (value := getattr(self, key)) != NO_PART.get(key):
                KINDS[key].found(value)  # refused if there is no such part
        _ = self.grey_limits, self.declared_classes  # refused if they are no numbers, no names
        if self.head != "linear" and self.head_init == "zero":
            raise UsageError(
                f"head-init = 'zero' leaves a head of kind {self.head!r} without a gradient; "
                "use head-init = 'seeded'."
            )
        count = int(self.samples) if re.fullmatch(r"\d{1,9}", self.samples, re.ASCII) else -1
        if self.samples not in ("auto", "none") and not 0 <= count <= _MOST_SAMPLES:
            raise UsageError(
                f"samples = {self.samples!r} is not known. "
                f"It is none, auto or a number from 0 to {_MOST_SAMPLES}."
            )

    @property
    def inputs_seed(self) -> int:
        """Seed of what the clients' data are, as opposed to what is drawn from it."""
        return self.seed if self.data_seed < 0 else self.data_seed

    @property
    def catches(self) -> bool:
        """Whether unforeseen errors are caught: the run goes on, or reports one in a sentence."""
        return self.engine != "debug"

    @property
    def pictures(self) -> int:
        """How many pictures of each client the report holds at most; zero is none at all."""
        if self.samples == "auto":
            return _RENDERED_SAMPLES if self.data == "hospitals" else 0
        return 0 if self.samples == "none" else int(self.samples)

    @property
    def holdout_name(self) -> str:
        """What the holdout-site is called in what is written; may be empty."""
        return HOLDOUT_PSEUDONYM if self.pseudonyms and self.holdout_site else self.holdout_site

    def settled(self, given: Collection[str] = ()) -> RunConfig:
        """Return the configuration with what ``partition`` = auto, local-epochs = 0 and such are.

        With rendered data every client is then a hospital of its own, with a case mix of its own,
        unless alpha or the number of sites asks for shares of a pool, or a hospital would have
        too few pictures to learn from.

        Args:
            given: Kebab-case keys that a person set, even if to their defaults.
        """
        if self.init == AUTO:
            return self.replace(init=self._start()).settled(given)
        if not self.local_epochs:
            return self.replace(local_epochs=self.epochs).settled(given)
        if not self.rounds:
            return self.replace(rounds=self.most_rounds).settled(given)
        rendered, partition = self.data == "hospitals", self.partition
        if not rendered:
            return self.replace(partition=_POOLED) if partition == AUTO else self
        set_to = dict(self.options)  # what is not as by default
        sites = int(set_to.get("hospitals-sites", 0))
        pooled = "alpha" in given or "alpha" in set_to or sites > 0
        images = int(self.option("hospitals-images"))
        if partition == AUTO and images >= _FEWEST_PICTURES * self.clients and not pooled:
            asked = "hospitals-prevalence" in {*given, *set_to}
            mix = {} if asked else {"hospitals_prevalence": _OWN_MIX}
            return self.replace(partition="natural", hospitals_sites=self.clients, **mix)
        if partition != AUTO and sites:
            return self
        return self.replace(
            partition=_POOLED if partition == AUTO else partition,
            hospitals_sites=sites or _POOLED_SITES,
        )

    @property
    def trains_blocks(self) -> bool:
        """Whether a part of the backbone is trained."""
        return bool(self.trainable_blocks or self.train_from)

    @property
    def epochs(self) -> int:
        """How many epochs a client trains in a round."""
        return self.local_epochs or (_BLOCKS_EPOCHS if self.trains_blocks else 1)

    @property
    def most_rounds(self) -> int:
        """How many rounds there are unless the strategy needs one, or ends before."""
        return self.rounds or (_BLOCKS_ROUNDS if self.trains_blocks else _ROUNDS)

    def _start(self) -> str:
        """Return what ``init`` = auto comes to: first the head, then the blocks below it."""
        if not self.trains_blocks or self.head != "linear":
            return "none"
        strategy: Any = KINDS["strategy"].load(self.strategy)
        return "none" if strategy.one_round or strategy.own_start else _START

    def in_simulation(self) -> RunConfig:
        """Return the configuration as ``simulate`` reads it."""
        return self.replace(own_data_rows="all") if self.own_data_rows == "auto" else self

    @property
    def chosen(self) -> tuple[Choice, ...]:
        """The parts that the run uses, as the keys that choose them say."""
        values = ((key, one) for key in CHOOSING_KEYS for one in listed(key, getattr(self, key)))
        return tuple(
            (key, value) for key, value in values if key != "init" or value not in NO_STARTER
        )

    def to_mapping(self) -> dict[str, Scalar]:
        """Return every key, in kebab case, with its value: TOML and Flower's run config alike.

        Options come last: those of the parts that are used, and others that were given.
        """
        core = {kebab(name): getattr(self, name) for name in defaults()}
        own = {key: option.default for key, option in options_of(*self.chosen).items()}
        return core | own | dict(self.options)

    def option(self, key: str) -> Scalar:
        """Return the value of an option of a part, by its kebab-case key.

        Raises:
            UsageError: There is no such option.
        """
        option = find_option(key, self.chosen)
        if option is None:
            raise UsageError(f"Unknown key {key!r}{nearest(key, rules())}")
        return dict(self.options).get(key, option.default)

    def only_chosen(self) -> RunConfig:
        """Return the configuration without options of parts that it does not use."""
        known = options_of(*self.chosen) if self.options else {}
        kept = tuple((k, v) for k, v in self.options if k in known or self.may_read(k))
        return self.replace(options=kept)

    def may_read(self, key: str) -> bool:
        """Return whether an option is read if ``backbone`` = auto comes to a certain part."""
        known = shipped_option(key) if self.backbone == AUTO else None
        return known is not None and known.key == "backbone"

    def replace(self, **changes: Any) -> RunConfig:
        """Return a checked copy with ``changes`` (Python names)."""
        return dataclasses.replace(self, **changes)

    def _with(self, given: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
        """Return the options with some that a person gave."""
        known = {}
        for key in given:
            option = find_option(key, self.chosen)
            if option is None:
                raise UsageError(f"Unknown key {key!r}{nearest(key, rules())}")
            known[key] = option
        values = {key: checked(key, value, known[key]) for key, value in given.items()}
        return others_than_default({**dict(self.options), **values}, known)
