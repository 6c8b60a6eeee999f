"""The keys that every run has, whatever it uses."""

from __future__ import annotations

import dataclasses
from functools import cache

from fedtl.config_key import Rule, Scalar, kebab
from fedtl.config_keys.data import DataKeys
from fedtl.config_keys.federation import FederationKeys
from fedtl.config_keys.machine import MachineKeys
from fedtl.config_keys.training import TrainingKeys
from fedtl.config_keys.transfer import TransferKeys


# A dataclass declares the keys of its last base first.
@dataclasses.dataclass(frozen=True)
class EveryKey(MachineKeys, TrainingKeys, TransferKeys, DataKeys, FederationKeys):
    """See :class:`fedtl.config.RunConfig`."""


@cache
def defaults() -> dict[str, Scalar]:
    """Return the default of every key, by the name of its field, in order."""
    return {field.name: field.default for field in dataclasses.fields(EveryKey)}  # type: ignore[misc]


@cache
def rules() -> dict[str, Rule]:
    """Return the rule of every key, by its kebab-case name, in order."""
    return {kebab(field.name): field.metadata["rule"] for field in dataclasses.fields(EveryKey)}
