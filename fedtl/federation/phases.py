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

# Above this many classes a client's confusion matrix is larger than its head: it is not asked for.
CONFUSION_CLASSES = 64
CONFUSION_OF = ("", "test-")

IDENTITY_KEYS = frozenset({"fedtl-version", "backbone-fingerprint", "feature-size", "classes"})
CENSUS_KEYS = frozenset({"partition-id", "num-examples", "held-out", "label-counts"})
HANDSHAKE_REPLY = Declaration(metrics={"census": CENSUS_KEYS}, config={"identity": IDENTITY_KEYS})
TRAIN_KEYS = frozenset({"num-examples", "train-loss", "held-out", "loss", "accuracy"})
_SCORE_KEYS = ("num-examples", "loss", "accuracy", "correct", "examples")
_SCORES = ("", "test-", "local-only-", "local-only-test-")
_UNSEEN_SCORES = ("unseen-", "local-only-unseen-")


def evaluate_keys(classes: int, *, unseen_site: bool) -> frozenset[str]:
    """Return the keys of a closing evaluation's metrics."""
    scores = _SCORES + _UNSEEN_SCORES if unseen_site else _SCORES
    keys = {prefix + key for prefix in scores for key in _SCORE_KEYS}
    if classes <= CONFUSION_CLASSES:
        keys |= {prefix + "confusion" for prefix in CONFUSION_OF}
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
        EVALUATE: Declaration(
            metrics={
                "metrics": evaluate_keys(classes, unseen_site=bool(strategy.config.holdout_site))
            }
        ),
    }
