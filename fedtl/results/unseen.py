"""Scores on the holdout-site, which took no part: which heads serve it, and how well."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedtl.federation.evaluation import ClientTallies, Tally
from fedtl.wording import count_of, percent, span


@dataclass(frozen=True, slots=True)
class UnseenScore:
    """A head's scores on the unseen site's examples, fractions.

    Attributes:
        accuracy: Examples that are right.
        balanced_accuracy: Mean recall over the classes that the site has.
        accuracy_low, accuracy_high: The accuracy's 95 % interval; ``None`` if it is unknown.
    """

    accuracy: float
    balanced_accuracy: float
    accuracy_low: float | None = None
    accuracy_high: float | None = None

    @property
    def told(self) -> str:
        """Both scores and their interval, for people."""
        known_span = span(self.accuracy_low, self.accuracy_high)
        between = f" (95 % interval {known_span})" if known_span else ""
        return f"{percent(self.accuracy)}{between}, balanced {percent(self.balanced_accuracy)}"

    @classmethod
    def of(cls, tally: Tally) -> UnseenScore:
        """Return the scores of a tally."""
        low, high = tally.clusters.interval or (None, None)
        return cls(tally.accuracy, tally.balanced_accuracy, low, high)


@dataclass(frozen=True, eq=False)
class UnseenSite:
    """Scores of the heads at the holdout-site.

    Attributes:
        name: The site's. examples: All of its examples; every head is scored on all of them.
        federated: The shared head's scores.
        centralised: Those of the centralised head; ``None`` if the data was never in one place.
        alone: Those of each client's local-only head, by partition id; a client that failed is
            absent.
        client_names: In partition-id order.
        unlearnt: Classes that the site has and no client has.
        zero_shot: Those of the head of the classes' names; ``None`` if the run has none.
    """

    name: str
    examples: int
    federated: UnseenScore
    centralised: UnseenScore | None
    alone: Mapping[int, UnseenScore]
    client_names: Sequence[str]
    unlearnt: tuple[str, ...]
    zero_shot: UnseenScore | None = None

    @property
    def best_first(self) -> list[int]:
        """Clients by the accuracy of their local-only heads, highest first."""
        return sorted(self.alone, key=lambda client: (-self.alone[client].accuracy, client))

    @property
    def unbeaten(self) -> frozenset[int]:
        """Clients whose local-only heads do as well as the federated one or better."""
        ours = self.federated.accuracy
        return frozenset(client for client, own in self.alone.items() if own.accuracy >= ours)

    def beaten(self, measure: str) -> int:
        """Return how many local-only heads the federated head beats; a draw does not count.

        Args:
            measure: ``accuracy`` or ``balanced_accuracy``.
        """
        ours = getattr(self.federated, measure)
        return sum(ours > getattr(own, measure) for own in self.alone.values())

    def verdict(self) -> str:
        """Return whether the federated head beats every local-only head, in one sentence."""
        best = self.best_first[0]
        name, own = self.client_names[best], percent(self.alone[best].accuracy)
        beaten, count = self.beaten("accuracy"), len(self.alone)
        if beaten == count:
            told = f"better than every local-only head (the best is {name}'s with {own})"
        elif beaten:
            told = (
                f"better than the local-only heads of {beaten:,} of {count:,} clients, but not "
                f"than {name}'s with {own}"
            )
        else:
            told = f"no better than any local-only head (the best is {name}'s with {own})"
        return (
            f"On {self.name}, which took no part, the federated head scores "
            f"{percent(self.federated.accuracy)}: {told}."
        )

    def balanced_verdict(self) -> str:
        """Return the same by balanced accuracy, since the site's class mix may favour one head."""
        best = max(own.balanced_accuracy for own in self.alone.values())
        beaten, count = self.beaten("balanced_accuracy"), len(self.alone)
        return (
            f"By balanced accuracy, where every class counts alike, it scores "
            f"{percent(self.federated.balanced_accuracy)} against {percent(best)} for the best "
            f"local-only head, and is better than {beaten:,} of {count:,}."
        )

    def unlearnt_note(self) -> str:
        """Return which of the site's classes no head can know; empty if there is none."""
        if not self.unlearnt:
            return ""
        return (
            f"No client has {self.name}'s {', '.join(self.unlearnt)}: no head can know "
            f"{count_of(len(self.unlearnt), 'class').partition(' ')[2]} that it was never shown."
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the figures for ``summary.json``; each client's own are in ``clients.csv``."""
        best = self.best_first[0]
        return {
            "name": self.name,
            "examples": self.examples,
            "federated": asdict(self.federated),
            "centralised": None if self.centralised is None else asdict(self.centralised),
            "zero_shot": None if self.zero_shot is None else asdict(self.zero_shot),
            "local_only_mean": {
                measure: statistics.fmean(getattr(own, measure) for own in self.alone.values())
                for measure in ("accuracy", "balanced_accuracy")
            },
            "local_only_best": {"client": best, **asdict(self.alone[best])},
            "own_heads": len(self.alone),
            "own_heads_beaten": self.beaten("accuracy"),
            "own_heads_beaten_balanced": self.beaten("balanced_accuracy"),
            "unlearnt_classes": list(self.unlearnt),
        }


def heads_by_site(sites: Sequence[UnseenSite]) -> dict[str, list[UnseenScore | None]]:
    """Return every head's score on every site; ``None`` on a site that it learnt from.

    The federated and the centralised head of a column learn without its site. Clients that are
    sites come in the order of the sites.
    """
    clients = {name for site in sites for name in site.client_names}
    own = [site.name for site in sites if site.name in clients]
    own += sorted(clients.difference(own), key=_natural)
    named = ["zero-shot"] if any(site.zero_shot is not None for site in sites) else []
    return {
        head: [_score_of(site, head) for site in sites]
        for head in ("federated", "centralised", *named, *own)
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts ``client-10`` after ``client-9``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def head_rows(sites: Sequence[UnseenSite]) -> list[dict[str, str]]:
    """Return the rows of ``unseen_sites.csv``: a head each, and its accuracy on every site.

    Beside a site's column, ``SITE_low`` and ``SITE_high`` hold the 95 % interval.
    """
    rows = []
    for head, scores in heads_by_site(sites).items():
        row = {"head": head}
        for site, score in zip(sites, scores, strict=True):
            told: tuple[float | None, ...] = (None, None, None)
            if score is not None:
                told = (score.accuracy, score.accuracy_low, score.accuracy_high)
            for ending, value in zip(("", "_low", "_high"), told, strict=True):
                row[f"{site.name}{ending}"] = "" if value is None else f"{value:.6f}"
        rows.append(row)
    return rows


def _score_of(site: UnseenSite, head: str) -> UnseenScore | None:
    if head == "federated":
        return site.federated
    if head == "centralised":
        return site.centralised
    if head == "zero-shot":
        return site.zero_shot
    if head not in site.client_names:
        return None
    return site.alone.get(list(site.client_names).index(head))


def unseen_site(
    name: str,
    *,
    federated: Mapping[int, ClientTallies],
    local_only: Mapping[int, ClientTallies],
    centralised: Mapping[int, ClientTallies] | None,
    zero_shot: Mapping[int, ClientTallies] | None,
    client_names: Sequence[str],
    classes: Sequence[str],
    label_counts: Sequence[int],
) -> UnseenSite:
    """Gather the scores of the closing evaluation on the holdout-site.

    Args:
        name: The site's.
        federated: Every client's scores of the federated head; all are the same.
        local_only: Every client's scores of its local-only head; not empty.
        centralised: Scores of the centralised head.
        zero_shot: Scores of the head of the classes' names.
        client_names: In partition-id order.
        classes: Class names.
        label_counts: Examples per class, all clients together.
    """
    shared = next(iter(federated.values())).unseen
    pooled, named = (
        None if told is None else UnseenScore.of(next(iter(told.values())).unseen)
        for told in (centralised, zero_shot)
    )
    unlearnt = np.flatnonzero((shared.examples > 0) & (np.asarray(label_counts) == 0))
    return UnseenSite(
        name=name,
        examples=shared.total,
        federated=UnseenScore.of(shared),
        centralised=pooled,
        alone={client: UnseenScore.of(told.unseen) for client, told in local_only.items()},
        client_names=client_names,
        unlearnt=tuple(classes[index] for index in unlearnt.tolist()),
        zero_shot=named,
    )
