"""The kinds of message a federation exchanges, and what each reply is declared to carry."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import MessageType

from fedtl.privacy.egress import Declaration
from fedtl.privacy.forms import Count, Form, Real, Text
from fedtl.statistics.calibration import CALIBRATION_BINS, TEMPERATURES
from fedtl.transfer.lone_head import METHODS
from strategies.base import HeadStrategy

HANDSHAKE = "query.handshake"
MOMENTS = "query.moments"
INIT = "query.init"
TRAIN = MessageType.TRAIN
EVALUATE = MessageType.EVALUATE

# Above this many classes a client's confusion matrix is larger than its head: it is not asked for,
# and neither are its binned scores.
CONFUSION_CLASSES = 64

_ANY_LENGTH = -1
# Rounding may leave a little less than no loss.
_LEAST = -1e-6
_COUNT, _SHARE = Count(), Real(0.0, 1.0, unknown=True)
# Nats an example; a head of which a loss is larger is none.
_MOST = 1e9
_LOSS = Real(_LEAST, _MOST, unknown=True)

IDENTITY_FORMS: Mapping[str, Form] = {
    "fedtl-version": Text(),
    "backbone-fingerprint": Text(),
    "feature-size": Count(low=1, high=2**24),
    "classes": Text(size=_ANY_LENGTH),
    "table-schema": Text(),
}
CENSUS_FORMS: Mapping[str, Form] = {
    "partition-id": _COUNT,
    "num-examples": _COUNT,
    "held-out": _COUNT,
    "label-counts": Count(size=_ANY_LENGTH),
    "classes-left-out": _COUNT,
}
HANDSHAKE_REPLY = Declaration(metrics={"census": CENSUS_FORMS}, config={"identity": IDENTITY_FORMS})
TRAIN_FORMS: Mapping[str, Form] = {
    "num-examples": _COUNT,
    "train-loss": _LOSS,
    "held-out": _COUNT,
    "loss": _LOSS,
    "accuracy": _SHARE,
}
_ONLY_EXAMPLES: Mapping[str, Mapping[str, Form]] = {"metrics": {"num-examples": _COUNT}}
# What the server tells beside the final head, and beside one whose loss is adjusted: how many
# examples of each class there are in all.
CLASS_COUNTS = "class-counts"

# What the metrics of the field come from, and what a temperature is fitted to and judged by.
FIELD_KEYS = ("score-bins", "rare-bins", "predicted", "probabilities")
TEMPERATURE_KEYS = ("temperature-losses", "temperature-gaps")

_SCORES = ("", "test-", "local-only-", "local-only-test-")
_CORRECTED = "corrected-"
_ZERO_SHOT = "zero-shot-"
_ZERO_SHOT_SCORES = (_ZERO_SHOT, "zero-shot-test-")
# The record of a closing message that carries the head of the classes' names.
ZERO_SHOT_RECORD = "zero-shot"
_UNSEEN_SCORES = ("unseen-", "local-only-unseen-")
_PERSONAL_SCORES = ("personal-", "personal-test-")


def confusion_of(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores of a closing evaluation that come with a confusion matrix.

    A client's own head is for its own examples: its errors on the test split are not asked for.
    """
    return ("", "test-") if strategy.global_head else ("",)


def binned_scores_of(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores of a closing evaluation that come with binned scores."""
    named = _ZERO_SHOT_SCORES if strategy.scores_zero_shot else ()
    if not strategy.global_head:
        return ("", "local-only-", *named)
    personal = ("personal-",) if strategy.personalises else ()
    return ("", "test-", "local-only-", _CORRECTED, *personal, *named)


def fits_temperature(strategy: HeadStrategy) -> bool:
    """Return whether there is one head whose probabilities a temperature improves."""
    return strategy.global_head and strategy.outputs in ("probability", "log-odds")


def paired_heads(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores that are sent in pairs with the local-only head's."""
    heads = ["", _CORRECTED] if strategy.global_head else [""]
    if strategy.personalises and strategy.global_head:
        heads.append("personal-")
    if strategy.scores_zero_shot:
        heads.append(_ZERO_SHOT)
    return tuple(heads)


def scores_told(strategy: HeadStrategy) -> tuple[str, ...]:
    """Return the scores of a closing evaluation.

    Without a global head, the scores that would be its own are those of clients' own heads.
    """
    scores = [*_SCORES]
    if strategy.global_head:
        scores.append(_CORRECTED)
    if strategy.config.holdout_site:
        scores += _UNSEEN_SCORES
    if strategy.personalises and strategy.global_head:
        scores += _PERSONAL_SCORES
    if strategy.scores_zero_shot:
        scores += _ZERO_SHOT_SCORES
        if strategy.config.holdout_site:
            scores.append("zero-shot-unseen-")
    return tuple(scores)


def evaluate_forms(strategy: HeadStrategy, classes: int) -> Mapping[str, Form]:
    """Return the form of each value of a closing evaluation's metrics."""
    each: Mapping[str, Form] = {
        "num-examples": _COUNT,
        "loss": _LOSS,
        "accuracy": _SHARE,
        # -1 stands for what a real site does not tell.
        "correct": Count(low=-1, size=classes),
        "examples": Count(size=classes),
        "clusters": Count(size=6),
    }
    forms = {prefix + key: form for prefix in scores_told(strategy) for key, form in each.items()}
    # Of its ten counts the last, by how much one head is ahead, may be below zero.
    pairs = Count(low=-(2**53), size=10)
    forms |= {prefix + "pairs": pairs for prefix in paired_heads(strategy)}
    forms["local-only-method"] = Count(high=len(METHODS) - 1)
    if classes <= CONFUSION_CLASSES:
        matrix = Count(size=classes * classes)
        forms |= {prefix + "confusion": matrix for prefix in confusion_of(strategy)}
        binned: tuple[Form, ...] = (
            Count(low=-(2**31), size=_ANY_LENGTH),
            Count(low=-(2**31), size=_ANY_LENGTH),
            Count(size=classes),
            Real(low=0.0, size=_ANY_LENGTH),
        )
        for prefix in binned_scores_of(strategy):
            forms |= {prefix + key: form for key, form in zip(FIELD_KEYS, binned, strict=True)}
        if fits_temperature(strategy):
            gaps = Real(size=len(TEMPERATURES) * CALIBRATION_BINS)
            fitted = (Real(low=_LEAST, size=len(TEMPERATURES)), gaps)
            forms |= dict(zip(TEMPERATURE_KEYS, fitted, strict=True))
    return forms


def declarations(
    strategy: HeadStrategy, feature_size: int, classes: int
) -> Mapping[str, Declaration]:
    """Return what a reply to each kind of message may carry."""
    moments = {"total": (feature_size,), "squares": (feature_size,)}
    starter = strategy.starter
    return {
        HANDSHAKE: HANDSHAKE_REPLY,
        MOMENTS: Declaration({"moments": moments}, _ONLY_EXAMPLES, precision="float64"),
        INIT: Declaration(metrics=_ONLY_EXAMPLES)
        if starter is None
        else Declaration(
            {starter.reply_record: starter.uplink}, _ONLY_EXAMPLES, precision=starter.precision
        ),
        TRAIN: Declaration(
            {strategy.reply_record: strategy.uplink},
            {"metrics": TRAIN_FORMS},
            precision=strategy.precision,
        ),
        EVALUATE: Declaration(metrics={"metrics": evaluate_forms(strategy, classes)}),
    }
