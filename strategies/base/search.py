"""Which of its hyper-parameters a strategy would have tuned, and in what range."""

from __future__ import annotations

from collections.abc import Mapping

from fedtl.options import Range, declared

Search = Mapping[str, Range]
"""Ranges by configuration key, in kebab case."""


def ranges_of(strategy: type) -> Search:
    """Return where ``compare --tune`` looks for a strategy's keys, those of every run first."""
    core: Search = getattr(strategy, "search", {})
    own = {key: option.tune for key, option in declared(strategy).items() if option.tune}
    return {**core, **own}
