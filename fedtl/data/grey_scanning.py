"""The grey scale of a data set: found once over all of its pictures, or as a person set it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from fedtl.data.dataset import GreyImages, Images
from fedtl.data.grey_scale import Extent, GreyScale, Limits
from fedtl.errors import UnreadableImageError

_PICTURES_PER_TASK = 64


def on_one_scale(images: Images, limits: Limits | None) -> tuple[Images, GreyScale]:
    """Return pictures with one scale for all that have more than 8 bits, and the scale.

    Pictures of 8 bits are told by their first bytes, and are not decoded for it.

    Args:
        images: The pictures of all clients.
        limits: What a person set as black and white; ``None`` to find them.
    """
    if not isinstance(images, GreyImages):
        return images, GreyScale()
    if limits is not None:
        scale = GreyScale.within(limits)
    else:
        spans = [
            range(at, min(at + _PICTURES_PER_TASK, len(images)))
            for at in range(0, len(images), _PICTURES_PER_TASK)
        ]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = pool.map(lambda span: [_extent(images, index) for index in span], spans)
            scale = GreyScale.over(each for part in found for each in part if each is not None)
    return images.with_scale(scale), scale


def _extent(images: GreyImages, index: int) -> Extent | None:
    try:
        return images.grey_extent(index)
    except UnreadableImageError:
        return None  # told where the picture is wanted
