"""Settings that a run does not read, named in one sentence instead of ignored silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import strategies
from fedtl.config import RunConfig
from fedtl.config_key import Scalar
from fedtl.config_keys.every import rules
from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import PICTURE, TABLE_ROW, kind_of
from fedtl.kinds import KINDS, NO_START
from fedtl.known_options import options_of, shipped_option
from fedtl.transfer.heads import head_of
from strategies.base import ClosedFormStrategy, IterativeStrategy

_Reason = Callable[[RunConfig, Dataset, int], str]


def unread_settings(
    configs: Sequence[RunConfig], dataset: Dataset, clients: int, *, compared: bool = False
) -> str:
    """Return a sentence that names every setting without effect; empty if there is none.

    A setting counts if its value is not the default, and if it could change a result: settings of
    Ray actors may stay if a run goes on inline. A setting that any of the runs reads has an effect.

    Args:
        configs: The run's configuration, or those of all runs of a comparison.
        dataset: Their data.
        clients: How many clients the data were dealt to.
        compared: Whether they are the runs of a comparison.
    """
    default = RunConfig().to_mapping()
    set_by = [_set_keys(config, default) for config in configs]
    told = []
    for key in dict.fromkeys(key for keys in set_by for key in keys):
        changed = [config for config, keys in zip(configs, set_by, strict=True) if key in keys]
        reasons = [_reason(key, config.settled(), dataset, clients) for config in changed]
        if compared and changed and key in _NOT_IN_COMPARISONS:
            reasons = [_NOT_IN_COMPARISONS[key]]
        if reasons and all(reasons):
            value = changed[0].to_mapping()[key]
            told.append(f"{key} = {_written(value)} ({reasons[0]})")
    if not told:
        return ""
    have = "has" if len(told) == 1 else "have"
    return f"{', '.join(told)} {have} no effect"


def _set_keys(config: RunConfig, default: Mapping[str, Scalar]) -> list[str]:
    """Return the keys whose value is not the default."""
    values = config.to_mapping()
    bare = config.replace(local_epochs=0, rounds=0)
    for key, settled in (("local-epochs", bare.epochs), ("rounds", bare.most_rounds)):
        if values[key] == settled:
            values[key] = default[key]  # settled, and not by a person
    core = [key for key in rules() if values[key] != default[key]]
    return [*core, *(key for key, _ in config.options)]


def _reason(key: str, config: RunConfig, dataset: Dataset, clients: int) -> str:
    """Return why nothing reads a key; empty if something does."""
    if key in _READERS:
        return _READERS[key](config, dataset, clients)
    if key not in rules() and key not in options_of(*config.chosen):
        known = shipped_option(key)
        chooser = "strategy" if known is None else known.key
        return f"{chooser} = {str(getattr(config, chooser))[:40]}"
    return ""


def _written(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _clients(config: RunConfig, dataset: Dataset, clients: int) -> str:
    if config.partition == "natural" and config.clients != clients:
        return f"partition = natural has {clients:,} sites"
    if config.partition.startswith("file:"):
        return f"the file of the partition has {clients:,} lists"
    return ""


def _pictures(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return "the data are features" if isinstance(dataset.inputs, np.ndarray) else ""


def _of_pictures(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return "" if kind_of(dataset.inputs) == PICTURE else f"the data are {dataset.unit}s"


def _labels(config: RunConfig, dataset: Dataset, clients: int) -> str:
    name, argument = KINDS["data"].found(config.data)
    slides = name == "features" and Path(argument).expanduser().is_dir()
    return "" if slides else _folder(config, dataset, clients)


def _duplicates(config: RunConfig, dataset: Dataset, clients: int) -> str:
    rows = kind_of(dataset.inputs) == TABLE_ROW
    return "equal rows of a table are different examples" if rows else ""


def _grey(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return _folder(config, dataset, clients) or _of_pictures(config, dataset, clients)


def _folder(config: RunConfig, dataset: Dataset, clients: int) -> str:
    kind = KINDS["data"]
    name, _ = kind.found(config.data)
    return "" if name == kind.otherwise else f"data = {name} is not a folder or archive of pictures"


def _top_level(config: RunConfig, dataset: Dataset, clients: int) -> str:
    found = _folder(config, dataset, clients)
    return found or (f"labels = {config.labels} replaces folder names" if config.labels else "")


def _test_fraction(config: RunConfig, dataset: Dataset, clients: int) -> str:
    own = dataset.test.any() and not dataset.test_is_held_out
    return "the data have a test split of their own" if own and config.test_fraction else ""


def _init(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return "init = none" if config.init in NO_START else ""


def _blocks(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return "" if config.trains_blocks else "no blocks of the backbone are trained"


def _rank(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return _blocks(config, dataset, clients) or (
        "adapter = none" if config.adapter == "none" else ""
    )


def _rounds(config: RunConfig, dataset: Dataset, clients: int) -> str:
    # One round is what is done anyway.
    return _one_round(config) if config.rounds != 1 else ""


def _one_round(config: RunConfig) -> str:
    one = strategies.load(config.strategy).one_round
    return f"strategy = {config.strategy} needs one round" if one else ""


def _patience(config: RunConfig, dataset: Dataset, clients: int) -> str:
    return _one_round(config) or ("" if config.held_out else "held-out = 0")


def _training(config: RunConfig, dataset: Dataset, clients: int) -> str:
    trains = issubclass(strategies.load(config.strategy), IterativeStrategy) or config.personalise
    return "" if trains else f"strategy = {config.strategy}"


def _ridge_penalty(config: RunConfig, dataset: Dataset, clients: int) -> str:
    if "ridge-penalty" not in options_of(*config.chosen):
        return f"strategy = {config.strategy}"
    chosen_by = dict(config.options).get("ridge-penalty-from", "fixed")
    return "" if chosen_by == "fixed" else f"ridge-penalty-from = {chosen_by}"


def _own_data_rows(config: RunConfig, dataset: Dataset, clients: int) -> str:
    if config.own_data_rows == "held-out":
        return ""
    strategy = strategies.build(config, head_of(config, features=1, classes=2))
    if isinstance(strategy, ClosedFormStrategy) and strategy.leaves_out:
        return ""
    for key in ("personalise", "attack"):
        if (value := getattr(config, key)) not in (0, "none"):
            return f"{key} = {value}"
    return f"strategy = {config.strategy}"


_NOT_IN_COMPARISONS = {
    "samples": "a comparison shows no pictures",
    "track": "only simulate and real sites have trackers",
    "pseudonyms": "a comparison calls clients by number, and the sites of holdout-site by name",
}


_READERS: dict[str, _Reason] = {
    "clients": _clients,
    "min-sites": lambda config, dataset, clients: "simulated clients are not sites",
    "test-fraction": _test_fraction,
    "top-level": _top_level,
    "layout": _top_level,
    "group-from": _folder,
    "labels": _labels,
    "duplicates": _duplicates,
    "grey-range": _grey,
    "window": _grey,
    "backbone": _pictures,
    "weights": _pictures,
    "image-size": _of_pictures,
    "precision": _pictures,
    "blocks-rate": _blocks,
    "blocks-decay": _blocks,
    "blocks-loss": _blocks,
    "views": _blocks,
    "adapter": _blocks,
    "rank": _rank,
    "cache-limit": _blocks,
    "init-temperature": _init,
    "own-data-rows": _own_data_rows,
    "rounds": _rounds,
    "patience": _patience,
    "local-epochs": _training,
    "batch-size": _training,
    "learning-rate": _training,
    "momentum": _training,
    "weight-decay": _training,
    "ridge-penalty": _ridge_penalty,
}
