"""What only a site's own node config switches on, whatever a run asks or ``allow`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtl.config_file import options_set, spelt
from fedtl.known_options import shipped_options

OWN_WORD: Mapping[str, str] = {
    "trust-remote-code": (
        "whether Python that a network brings runs, a site says itself: backbone = 'hf:FOLDER' and "
        "set = 'trust-remote-code=true' of its node config"
    )
}
"""Options that are a site's own to switch on, and why a run's are refused."""


def own_words(own: Mapping[str, Any], where: str) -> frozenset[str]:
    """Return those that a site switches on in its ``set``; they go with a backbone of its own.

    Args:
        own: What the site sets for itself.
        where: What that is called in messages.

    Raises:
        UsageError: ``set`` is not of the form that it should have.
    """
    if "backbone" not in own:
        return frozenset()
    given = options_set(own.get("set", ""), where)
    known = shipped_options()
    return frozenset(
        key for key in OWN_WORD if key in given and spelt(key, given[key], known[key].option)
    )
