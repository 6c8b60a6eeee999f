"""Hostile clients enlarge their change."""

from __future__ import annotations

from fedtl.attacks.base import Stretched


class Scale(Stretched):
    """With x what it found and w what it was sent, a hostile client sends w + s (x - w)."""


ATTACK = Scale
