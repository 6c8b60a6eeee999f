"""What a site's own node config may hold, and whether it is right."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from fedtl.client.ledger import LEDGER_KEY
from fedtl.client.own_word import OWN_WORD
from fedtl.client.run_keys import IMPOSSIBLE
from fedtl.config import RunConfig
from fedtl.config_file import options_set
from fedtl.config_key import nearest
from fedtl.config_keys.data import READING_KEYS
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.known_options import options_of, shipped_options

HERE = "this site's node config"

# Of how few examples of a class nothing leaves.
FEWEST = "min-examples-per-class"

# What a site may set for itself: where its data, backbone, weights and cache are, how its data is
# read, with the options of its source, and of how few examples of a class nothing leaves.
SITE_KEYS = ("data", "set", *READING_KEYS, "backbone", "weights", "cache", "cache-limit", FEWEST)

# What --node-config may hold beside SITE_KEYS: Flower's two, and this module's own.
_FLOWERS_KEYS = ("partition-id", "num-partitions")
LIMITS = {"most-epochs": 100, "most-seconds": 1800, "most-megabytes": 256}
NODE_KEYS = (*_FLOWERS_KEYS, *SITE_KEYS, LEDGER_KEY, "allow", "simulated", *LIMITS)

# What `allow` takes beside keys of the configuration.
OWN_CLASS, DOWNLOADS = "module:Class", "downloads"

_OPTIONS = shipped_options()


class NodeConfigError(UsageError):
    """A site's own node config is wrong; the message may hold what only the site should read."""


def only_of_source(own: Mapping[str, Any], here: RunConfig) -> None:
    """Refuse a ``set`` of the node config with options of other parts, which all sites share.

    What a site has to say itself goes with a backbone of its own.

    Raises:
        UsageError: It has one.
    """
    # Which network that has such an option is here only the site itself can have said.
    its = OWN_WORD.keys() & options_of(("backbone", here.backbone)).keys()
    known = {*options_of(("data", here.data)), *its}
    for key in options_set(own.get("set", ""), HERE):
        if key in OWN_WORD and key not in known:
            raise UsageError(
                f"set in {HERE} has {key}, but no network whose Python it could be about; name it: "
                "backbone = 'hf:FOLDER'."
            )
        if key not in known:
            raise UsageError(
                f"set in {HERE} has {key}, which is no option of data = {here.data}; leave it "
                "out, as options of all other parts are the run's."
            )


def impossible(key: str) -> str:
    """Return what no site can follow: the key, or the part it is an option of; else ``None``."""
    chooser = _OPTIONS[key].key if key in _OPTIONS else key
    return chooser if chooser in IMPOSSIBLE else ""


def limit(key: str, value: Any) -> float:
    """Return a limit of the node config as a number above 0.

    Raises:
        NodeConfigError: It is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise NodeConfigError(
            f"{key} = {value!r} in this site's node config is not a number above 0."
        )
    return float(value)


def allowed_words(text: Any) -> frozenset[str]:
    """Return the words of ``allow``.

    Raises:
        NodeConfigError: One of them is not known, or is no site's to allow.
    """
    words = re.findall(r"[^\s,]+", text) if isinstance(text, str) else [repr(text)]
    known = [
        key
        for key in (*rules(), *_OPTIONS, OWN_CLASS, DOWNLOADS)
        if not (impossible(key) or key in OWN_WORD)
    ]
    for word in words:
        if word not in known:
            raise NodeConfigError(
                f"allow names {word!r} in this site's node config{nearest(word, known)} It takes "
                f"keys of a run's configuration, {OWN_CLASS} and {DOWNLOADS}."
            )
    return frozenset(words)
