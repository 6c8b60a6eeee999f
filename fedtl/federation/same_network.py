"""The server's network against the sites', where both compute parts of one head."""

from __future__ import annotations

from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.preparation.site import Identity
from fedtl.transfer.boundary import cut_backbone
from fedtl.transfer.heads import Head
from fedtl.transfer.trained_blocks import TrainedBlocks


def check_blocks(head: Head, sites: Identity) -> None:
    """Refuse to send blocks of another backbone than the sites have.

    Raises:
        FedtlError: They are.
    """
    if isinstance(head, TrainedBlocks) and head.fingerprint != sites.fingerprint:
        raise FedtlError(
            f"The server's backbone has fingerprint {head.fingerprint}, the sites' "
            f"{sites.fingerprint}; if blocks are trained, the server begins with its own, so give "
            "it the same backbone and weights."
        )


def check_texts(config: RunConfig, sites: Identity) -> None:
    """Refuse to set class names beside features of another backbone than the server's.

    Raises:
        FedtlError: The sites have another.
    """
    backbone, _ = cut_backbone(config)
    if backbone.fingerprint != sites.fingerprint:
        raise FedtlError(
            f"The server's backbone has fingerprint {backbone.fingerprint}, the sites' "
            f"{sites.fingerprint}; the vectors of class names would not lie beside the sites' "
            "features, so give the server the same backbone and weights."
        )
