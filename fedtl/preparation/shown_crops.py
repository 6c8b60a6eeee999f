"""Which crops of training pictures trained blocks are shown beside the pictures."""

from __future__ import annotations

from fedtl.config import RunConfig
from fedtl.data.crops import WithCrops
from fedtl.data.dataset import Dataset, Images
from fedtl.data.input_kinds import PICTURE, kind_of
from fedtl.errors import UsageError
from fedtl.transfer.backbones.base import Backbone
from fedtl.transfer.boundary import inputs_fitting
from fedtl.wording import count_of

# Crops of each picture that are shown unless a run says otherwise. On photographs and paintings at
# two clients blocks gain 6 points on a linear head with them, and 2.5 without.
_VIEWS = 4


def shown_crops(
    config: RunConfig, backbone: Backbone, dataset: Dataset, inputs: Images
) -> tuple[WithCrops | None, str]:
    """Return pictures with their crops, and what a user should know of these.

    Args:
        config: The run; it trains blocks.
        backbone: With its cut.
        dataset: The data.
        inputs: Its inputs, as they are read.

    Returns:
        ``None`` and an empty sentence if there are no crops; the sentence is empty, too, if they
        were asked for.

    Raises:
        UsageError: Crops are asked for, and inputs are no pictures.
    """
    views, told = config.views, ""
    pictures = kind_of(inputs) == PICTURE
    if views > 0 and not pictures:
        raise UsageError(
            f"views = {views} are crops of pictures, but {dataset.name} holds {dataset.unit}s; "
            "use views = 0."
        )
    if views < 0 and pictures:
        room = max(0, inputs_fitting(config, backbone) - len(dataset))
        views = min(_VIEWS, room // max(1, len(dataset.training)))
        told = _told(views)
    if views <= 0:
        return None, told
    return WithCrops(inputs, dataset.training, views, config.inputs_seed), told


def _told(views: int) -> str:
    if not views:
        return "Blocks are shown no crops of training pictures, as cache-limit has no room for any."
    fewer = "" if views == _VIEWS else ", as many as cache-limit has room for"
    return (
        f"Blocks are also shown {count_of(views, 'random crop')} of each training picture{fewer}, "
        "half of them mirrored; views = 0 shows none."
    )
