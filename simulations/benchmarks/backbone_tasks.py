"""The tasks that backbones are measured by: their pictures, and how a seed splits them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fedtl.data.dataset import Dataset
from fedtl.data.holdout import Rows, held_out_split
from fedtl.determinism import generator

HOSPITALS = "hospitals"
VALIDATION = 0.2
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
DOMAIN_TASKS = tuple(f"pacs-{site}" for site in DOMAINS)
DOMAIN_MEAN = "pacs-mean"
COLUMNS = (HOSPITALS, "malaria", *DOMAIN_TASKS, DOMAIN_MEAN, "ants-bees")


class Split(NamedTuple):
    """Rows of a data set; the penalty is chosen by training on ``fit``, scoring ``validation``."""

    fit: Rows
    validation: Rows
    test: Rows

    @property
    def train(self) -> Rows:
        """All that is trained on once the penalty is chosen."""
        return np.concatenate([self.fit, self.validation])


def stratified_split(dataset: Dataset, train: Rows, test: Rows, seed: int) -> Split:
    """Return a split in which the validation part has its share of every class."""
    rng = generator(seed, "benchmark validation")
    return Split(*held_out_split(dataset.labels, train, VALIDATION, rng), test)


def own_split(dataset: Dataset, seed: int) -> Split:
    """Return the data set's own training and test split."""
    train, test = np.flatnonzero(~dataset.test), np.flatnonzero(dataset.test)
    return stratified_split(dataset, train, test, seed)


def split_of_site(dataset: Dataset, seed: int, *, site: str) -> Split:
    """Return a stratified 80/20 split of one site's pictures."""
    rows, rng = np.flatnonzero(dataset.sites == site), generator(seed, "benchmark test")
    return stratified_split(dataset, *held_out_split(dataset.labels, rows, 0.2, rng), seed)


def split_by_site(dataset: Dataset, seed: int, *, train: int = 4000, test: int = 1500) -> Split:
    """Return parts that share no site; whole sites cannot be stratified."""
    rng = generator(seed, "benchmark sites")
    # Sites in proportion: the few that hold 1,500 pictures would make the figure a matter of luck.
    share = len(dataset) * test // (train + test)
    others, tested = without_sites(dataset, np.arange(len(dataset)), share, rng)
    trained = np.sort(rng.choice(others, train, replace=False))
    fit, validation = without_sites(dataset, trained, round(VALIDATION * train), rng)
    return Split(fit, validation, np.sort(rng.choice(tested, test, replace=False)))


def without_sites(
    dataset: Dataset, rows: Rows, at_least: int, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Draw sites until they have ``at_least`` rows; return the others' rows, and theirs."""
    assert dataset.sites is not None
    _, site, counts = np.unique(dataset.sites[rows], return_inverse=True, return_counts=True)
    order = rng.permutation(len(counts))
    number = np.searchsorted(np.cumsum(counts[order]), at_least) + 1
    drawn = np.isin(site, order[:number])
    return rows[~drawn], rows[drawn]


class Task(NamedTuple):
    """Where the pictures are, ``hospitals`` or a zip, and how a seed splits them."""

    source: str
    split: Callable[[Dataset, int], Split]


TASKS = {
    HOSPITALS: Task(HOSPITALS, own_split),
    "malaria": Task("malaria.zip", split_by_site),
    **{f"pacs-{site}": Task("pacs_128.zip", partial(split_of_site, site=site)) for site in DOMAINS},
    "ants-bees": Task("ants_bees.zip", own_split),
}
