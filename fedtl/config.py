"""The one description of a run: a frozen dataclass that CLI flags, TOML and Flower spell alike.

Every key has one kebab-case name. ``--learning-rate 0.1`` on the command line, ``learning-rate =
0.1`` in a TOML file and ``learning-rate`` in Flower's run config are the same thing, checked in the
same place and written into the run folder as the effective configuration.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from fedtl.config_key import Rule, Scalar, check, kebab, nearest
from fedtl.config_keys.data import AUTO, PARTITIONS, DataKeys
from fedtl.config_keys.federation import FederationKeys
from fedtl.config_keys.machine import MachineKeys
from fedtl.config_keys.training import TrainingKeys
from fedtl.config_keys.transfer import TransferKeys
from fedtl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

# What partition = auto and hospitals-sites = 0 come to: see RunConfig.settled.
_POOLED_SITES, _OWN_MIX, _FEWEST_PICTURES = 5, 3.0, 20

HOLDOUT_PSEUDONYM = "unseen-site"
"""What the site that takes part in nothing is called if clients have pseudonyms."""
_MOST_SAMPLES = 100
# The rendered hospitals' pictures are nobody's.
_RENDERED_SAMPLES = 9


# A dataclass declares the keys of its last base first.
@dataclass(frozen=True)
class RunConfig(MachineKeys, TrainingKeys, TransferKeys, DataKeys, FederationKeys):
    """Everything a run depends on, besides the data itself.

    Raises:
        UsageError: A value is outside its range, or two values contradict each other.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(kebab(field.name), getattr(self, field.name), field.metadata["rule"])
        known = self.partition in (AUTO, *PARTITIONS)
        if not known and not self.partition.startswith("file:"):
            near = nearest(self.partition, PARTITIONS)
            raise UsageError(
                f"partition = {self.partition!r} is not known{near} "
                f"It is one of {', '.join(PARTITIONS)}, {AUTO} or file:PARTS.json."
            )
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
        """Whether a simulation goes on after what nobody foresaw, or tells it in a sentence."""
        return self.engine != "debug"

    @property
    def pictures(self) -> int:
        """How many pictures of each client the report holds at most; zero is none at all."""
        if self.samples == "auto":
            return _RENDERED_SAMPLES if self.data == "hospitals" else 0
        return 0 if self.samples == "none" else int(self.samples)

    @property
    def holdout_name(self) -> str:
        """What the site that takes part in nothing is called in what is written; may be empty."""
        return HOLDOUT_PSEUDONYM if self.pseudonyms and self.holdout_site else self.holdout_site

    def settled(self, given: Collection[str] = ()) -> RunConfig:
        """Return the configuration with what ``partition`` = auto and ``hospitals-sites`` = 0 are.

        With rendered data every client is then a hospital of its own, with a case mix of its own,
        unless alpha or the number of sites asks for shares of a pool, or a hospital would have
        too few pictures to learn from.

        Args:
            given: Kebab-case keys that a person set, if only to their defaults.
        """
        default = RunConfig()
        rendered = self.data == "hospitals"
        pooled = "alpha" in given or self.alpha != default.alpha or self.hospitals_sites > 0
        enough = self.hospitals_images >= _FEWEST_PICTURES * self.clients
        if self.partition == AUTO and rendered and enough and not pooled:
            mix = self.hospitals_prevalence
            asked = "hospitals-prevalence" in given or mix != default.hospitals_prevalence
            return self.replace(
                partition="natural",
                hospitals_sites=self.clients,
                hospitals_prevalence=mix if asked else _OWN_MIX,
            )
        partition = "dirichlet" if self.partition == AUTO else self.partition
        sites = self.hospitals_sites or (_POOLED_SITES if rendered else 0)
        if (partition, sites) == (self.partition, self.hospitals_sites):
            return self
        return self.replace(partition=partition, hospitals_sites=sites)

    def in_simulation(self) -> RunConfig:
        """Return the configuration as ``simulate`` reads it."""
        return self.replace(own_data_rows="all") if self.own_data_rows == "auto" else self

    def to_mapping(self) -> dict[str, Scalar]:
        """Return every key, in kebab case, with its value: TOML and Flower's run config alike."""
        return {key: getattr(self, name) for key, name in _spelling()}

    def replace(self, **changes: Scalar) -> RunConfig:
        """Return a checked copy with ``changes`` (Python names)."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@cache
def _spelling() -> tuple[tuple[str, str], ...]:
    """Return every key as users write it and the name of its field, in the order of declaration."""
    return tuple((kebab(field.name), field.name) for field in dataclasses.fields(RunConfig))


def rules() -> dict[str, Rule]:
    """Return each key's rule, by its kebab-case name, in the order of declaration."""
    return {kebab(field.name): field.metadata["rule"] for field in dataclasses.fields(RunConfig)}
