"""The configured data set, opened, and what to tell the user before anything is computed."""

from __future__ import annotations

import numpy as np

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.emptied import note_of
from fedtl.data.group_pattern import groups_hint
from fedtl.data.groups import straddling_test
from fedtl.data.sources import open_dataset
from fedtl.data.test_part import with_test_part
from fedtl.data.unseen_site import withhold_site
from fedtl.transfer.cache_folder import cache_note


def open_data(config: RunConfig, *, own: bool = False) -> Dataset:
    """Return the configured data set; ``holdout-site`` is marked as unseen in it.

    Args:
        config: The run.
        own: Whether it is one real site's own data. Its rows are not new to the federation, so no
            test part is held out of it.

    Raises:
        UsageError: There is no such data or it is unusable.
    """
    config = config.settled()
    dataset = open_dataset(config, own=own)
    if config.holdout_site:
        dataset = withhold_site(dataset, config.holdout_site, fewest_sites=fewest_sites(config))
    return dataset if own else with_test_part(dataset, config.test_fraction, config.inputs_seed)


def data_notes(config: RunConfig, dataset: Dataset) -> list[str]:
    """Return what to tell the user about the data before anything is computed, a sentence each."""
    natural, named = config.partition == "natural", not config.pseudonyms
    seen = not isinstance(dataset.inputs, np.ndarray)
    notes = [
        *dataset.notes,
        cache_note(config) if seen else "",
        note_of(dataset, named=named),
        groups_hint(dataset, natural=natural, named=named),
    ]
    straddling = straddling_test(dataset)
    if straddling:
        first = f", first {straddling[0]}" if named else ""
        notes.append(
            f"{len(straddling):,} {'group lies' if len(straddling) == 1 else 'groups lie'} both in "
            f"training and in the test split that the data brings{first}, so that accuracy on it "
            "is too good"
        )
    return [note for note in notes if note]


def fewest_sites(config: RunConfig) -> int:
    """Return how many sites must have training data beside one that takes no part.

    A single client is no federation: its local-only head would be the federated one.
    """
    return 2 if config.partition == "natural" else 1
