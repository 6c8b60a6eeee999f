"""What a site reports about its data first; all its later replies must agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flwr.app import MetricRecord
from numpy.typing import NDArray

from fedtl.preparation.site import Site
from fedtl.privacy.egress import EgressError


@dataclass(frozen=True)
class SiteCard:
    """What a site reported about its data.

    Attributes:
        client: Partition id.
        examples: Training examples.
        held_out: Held-out rows.
        label_counts: Examples of each class, both parts together.
        classes_left_out: Classes that it has too few training examples of to train on them.
    """

    client: int
    examples: int
    held_out: int
    label_counts: tuple[int, ...]
    classes_left_out: int = 0

    @classmethod
    def of(cls, site: Site, learnt: NDArray[np.int64]) -> SiteCard:
        """Return what a site reports about its data.

        Args:
            site: The site.
            learnt: Labels of its training rows, as it learns them.
        """
        data = site.data
        labels = np.concatenate([learnt, data.labels.numpy()[data.held_out]])
        counts = np.bincount(labels, minlength=data.classes)
        return cls(
            client=data.partition_id,
            examples=len(data.train),
            held_out=len(data.held_out),
            label_counts=tuple(counts.tolist()),
            classes_left_out=site.classes_left_out,
        )

    @classmethod
    def read(cls, census: MetricRecord, classes: int) -> SiteCard:
        """Return the census in a record that has the declared form.

        Args:
            census: The record.
            classes: Number of classes that the same site reports.

        Raises:
            EgressError: Its numbers contradict one another.
        """
        counts: tuple[int, ...] = tuple(census["label-counts"])  # type: ignore[arg-type]
        card = cls(
            client=int(census["partition-id"]),  # type: ignore[arg-type]
            examples=int(census["num-examples"]),  # type: ignore[arg-type]
            held_out=int(census["held-out"]),  # type: ignore[arg-type]
            label_counts=counts,
            classes_left_out=int(census["classes-left-out"]),  # type: ignore[arg-type]
        )
        if len(counts) != classes:
            raise EgressError(f"label-counts has {len(counts):,} entries for {classes:,} classes")
        if sum(counts) != card.examples + card.held_out:
            raise EgressError(
                f"label-counts add up to {sum(counts):,} examples, but num-examples = "
                f"{card.examples:,} and held-out = {card.held_out:,}"
            )
        return card

    def record(self) -> MetricRecord:
        """Return it as a record."""
        return MetricRecord(
            {
                "partition-id": self.client,
                "num-examples": self.examples,
                "held-out": self.held_out,
                "label-counts": list(self.label_counts),
                "classes-left-out": self.classes_left_out,
            }
        )
