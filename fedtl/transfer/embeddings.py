"""Data that come as features already: what stands for the backbone that made them."""

from __future__ import annotations

import hashlib

FINGERPRINT_VERSION = 1
"""Part of every fingerprint: to be changed with how one is made."""


def embedding_fingerprint(feature_size: int) -> str:
    """Return what stands for a backbone's fingerprint where data come as embeddings already.

    Args:
        feature_size: Length of an embedding.
    """
    identity = f"embedding {FINGERPRINT_VERSION} {feature_size}"
    return hashlib.sha256(identity.encode()).hexdigest()
