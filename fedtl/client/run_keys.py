"""Which keys of a run's configuration a real site follows, and how far.

A site refuses a key that is on neither list, new ones included, until somebody adds it to one.
"""

from __future__ import annotations

from collections.abc import Mapping

# What decides how a head is learnt. Numbers have the ranges of the configuration itself; a tighter
# one stands here where a large value would cost the site time or memory. Options of
# strategies, backbones and heads that are installed at the site are followed, too, as far as they
# say themselves.
FOLLOWED: Mapping[str, float | None] = {
    "strategy": None,
    "init": None,
    "init-temperature": None,
    "clients": None,
    "fraction": None,
    "rounds": 10_000,
    "seed": None,
    "shots": None,
    "held-out": None,
    "min-examples-per-class": None,
    "reply-limit": None,
    "duplicates": None,
    "class-names": None,
    "grey-range": None,
    "window": None,
    "backbone": None,
    "image-size": 1024,
    "precision": None,
    "prompt": None,
    "trainable-blocks": None,
    "train-from": None,
    "blocks-rate": None,
    "blocks-decay": None,
    "blocks-loss": None,
    "views": 100,
    "adapter": None,
    "rank": None,
    "head": None,
    "head-init": None,
    "local-epochs": None,
    "batch-size": None,
    "learning-rate": None,
    "momentum": None,
    "weight-decay": None,
    "own-data-rows": None,
    "personalise": None,
    "prior-correction": None,
}

# Epochs, which the site's own most-epochs bounds.
EPOCHS = ("local-epochs", "personalise")

# What the server alone reads. Flower sends it to the sites as well; there it is dropped unread.
SERVERS_OWN = frozenset(
    {
        "name",
        "out",
        "track",
        "patience",
        "samples",
        "pseudonyms",
        "client-timeout",
        "connect-timeout",
        "min-sites",
    }
)

# A scenario is a layer that a simulation adds; a site with data of its own has none.
_NO_SCENARIO = "who drops out, is slow or hostile is for simulations; a site has no such layer"

# Why some of the others are refused; of the rest there is nothing more to say.
REASONS: Mapping[str, str] = {
    "data": "the site itself decides which data is read",
    "weights": "the site itself decides which files are read and what is downloaded",
    "cache": "the site itself decides where files are written",
    "no-cache": "the site itself decides where files are written",
    "labels": "the site itself decides which files are read",
    "partition": "a site keeps its own data, and nothing is dealt out",
    "attack": _NO_SCENARIO,
    "dropout": _NO_SCENARIO,
    "straggle": _NO_SCENARIO,
    "holdout-site": (
        "one data set that holds all sites would be needed, but this site brings its own data; "
        "leave the hospital unconnected instead and give it the head (python -m fedtl.predict)"
    ),
}

# What could not be followed at a site with data of its own, whoever allows it; nor an option of it.
IMPOSSIBLE = frozenset({"holdout-site", "attack", "dropout", "straggle"})
