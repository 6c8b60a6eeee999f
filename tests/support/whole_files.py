"""How processes share the tests: whole files, and at once those that share something costly."""

from __future__ import annotations

import functools
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_PROJECT = Path(__file__).resolve().parents[2]
# What a second process would have to make anew, by the session fixtures that make it.
_COSTLY = {"shared_ray": "Ray", "warm_worker": "Ray", "unequal_run": "the run of unequal clients"}


class WholeFiles(LoadFileScheduling):
    """Give a process whole files; those that name a costly fixture go to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(super()._split_scope(nodeid))


@functools.cache
def _scope(file: str) -> str:
    text = (_PROJECT / file).read_text(encoding="utf-8")
    return next((made for fixture, made in _COSTLY.items() if fixture in text), file)
