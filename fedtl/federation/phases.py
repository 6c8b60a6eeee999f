"""The kinds of message a federation exchanges, and what each reply is declared to carry."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import MessageType

from fedtl.privacy.egress import Declaration
from strategies.base import HeadStrategy

HANDSHAKE = "query.handshake"
MOMENTS = "query.moments"
INIT = "query.init"
TRAIN = MessageType.TRAIN
EVALUATE = MessageType.EVALUATE

# Above this many classes a client's confusion matrix is larger than its head: it is not asked for,
# and neither are its binned scores.
CONFUSION_CLASSES = 64

IDENTITY_KEYS = frozenset({"fedtl-version", "backbone-fingerprint", "feature-size", "classes"})
CENSUS_KEYS = frozenset({"partition-id", "num-examples", "held-out", "label-counts"})
HANDSHAKE_REPLY = Declaration(metrics={"census": CENSUS_KEYS}, config={"identity": IDENTITY_KEYS})
TRAIN_KEYS = frozenset({"num-examples", "train-loss", "held-out", "loss", "accuracy"})
# What the server tells beside the final head: how many examples of each class there are in all.
CLASS_COUNTS = "class-counts"

# What the metrics of the field come from, and what a temperature is fitted to and judged by.
FIELD_KEYS = ("score-bins", "rare-bins", "predicted", "probabilities")
TEMPERATURE_KEYS = ("temperature-losses", "temperature-gaps")

_SCORE_KEYS = ("num-examples", "loss", "accuracy", "correct", "examples", "clusters")
_SCORES = ("", "test-", "local-only-", "local-only-test-")
_CORRECTED = "corrected-"
_UNSEEN_SCORES = ("unseen-", "local-only-unseen-")
_PERSONAL_SCORES = ("personal-", "personal-test-")


def confusion_of(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores of a closing evaluation that come with a confusion matrix.

    A client's own head is for its own examples: its errors on the test split are not asked for.
    """
    return ("", "test-") if strategy.global_head else ("",)


def binned_scores_of(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores of a closing evaluation that come with binned scores."""
    if not strategy.global_head:
        return ("", "local-only-")
    personal = ("personal-",) if strategy.personalises else ()
    return ("", "test-", "local-only-", _CORRECTED, *personal)


def fits_temperature(strategy: HeadStrategy) -> bool:
    """Return whether there is one head, whose outputs a temperature makes better probabilities."""
    return strategy.global_head and strategy.outputs in ("probability", "log-odds")


def paired_heads(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores that are told pair by pair beside the local-only head's."""
    heads = ["", _CORRECTED] if strategy.global_head else [""]
    if strategy.personalises and strategy.global_head:
        heads.append("personal-")
    return tuple(heads)


def evaluate_keys(strategy: HeadStrategy, classes: int) -> frozenset[str]:
    """Return the keys of a closing evaluation's metrics.

    Without a global head, the scores that would be its own are those of clients' own heads.
    """
    scores = [*_SCORES]
    if strategy.global_head:
        scores.append(_CORRECTED)
    if strategy.config.holdout_site:
        scores += _UNSEEN_SCORES
    if strategy.personalises and strategy.global_head:
        scores += _PERSONAL_SCORES
    keys = {prefix + key for prefix in scores for key in _SCORE_KEYS}
    keys |= {prefix + "pairs" for prefix in paired_heads(strategy)}
    keys.add("local-only-method")
    if classes <= CONFUSION_CLASSES:
        keys |= {prefix + "confusion" for prefix in confusion_of(strategy)}
        keys |= {prefix + key for prefix in binned_scores_of(strategy) for key in FIELD_KEYS}
        if fits_temperature(strategy):
            keys.update(TEMPERATURE_KEYS)
    return frozenset(keys)


def declarations(
    strategy: HeadStrategy, feature_size: int, classes: int
) -> Mapping[str, Declaration]:
    """Return what a reply to each kind of message may carry."""
    moments = {"total": (feature_size,), "squares": (feature_size,)}
    starter = strategy.starter
    return {
        HANDSHAKE: HANDSHAKE_REPLY,
        MOMENTS: Declaration(
            arrays={"moments": moments}, metrics={"metrics": frozenset({"num-examples"})}
        ),
        INIT: Declaration(
            arrays={} if starter is None else {starter.reply_record: starter.uplink},
            metrics={"metrics": frozenset({"num-examples"})},
        ),
        TRAIN: Declaration(
            arrays={strategy.reply_record: strategy.uplink}, metrics={"metrics": TRAIN_KEYS}
        ),
        EVALUATE: Declaration(metrics={"metrics": evaluate_keys(strategy, classes)}),
    }
