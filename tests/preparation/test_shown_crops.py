"""How many crops of training pictures are kept, if a run does not say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_blocks import BACKBONE

from fedtl.config import RunConfig
from fedtl.data.input_kinds import PICTURE, TEXT, InputKind
from fedtl.errors import UsageError
from fedtl.preparation.shown_crops import shown_crops
from fedtl.transfer.boundary import check_room, cut_backbone

PICTURES, TRAINING = 12, 10
CONFIG = RunConfig(backbone=BACKBONE, trainable_blocks=2)


class _Data:
    name, unit = "things", "text"
    training = np.arange(TRAINING)

    def __len__(self) -> int:
        return PICTURES


def _shown(config: RunConfig, kind: InputKind = PICTURE) -> tuple[int, str]:
    backbone, data, inputs = cut_backbone(config)[0], _Data(), SimpleNamespace(kind=kind)
    given: Any = (config, backbone, data, inputs)
    found, told = shown_crops(*given)
    count = PICTURES if found is None else PICTURES + len(found.rows) * found.views
    assert check_room(config, backbone, count, "picture")
    return 0 if found is None else found.views, told


@pytest.mark.parametrize(("room", "views"), [(52, 4), (51, 3), (32, 2), (31, 1), (22, 1), (21, 0)])
def test_as_many_as_there_is_room_for(room: int, views: int) -> None:
    each = 4 * cut_backbone(CONFIG)[0].feature_size
    found, told = _shown(CONFIG.replace(cache_limit=(room + 0.5) * each / 1e9))
    assert found == views
    if views == 4:
        assert told == (
            "Blocks are also shown 4 random crops of each training picture, half of them mirrored; "
            "views = 0 shows none."
        )
    elif views:
        assert f"shown {views} random crop" in told
        assert ", as many as cache-limit has room for, half of" in told
    else:
        assert "shown no crops" in told


def test_what_a_run_says_is_done() -> None:
    assert _shown(CONFIG.replace(views=0)) == (0, "")
    assert _shown(CONFIG.replace(views=7)) == (7, "")


def test_other_inputs_have_none() -> None:
    assert _shown(CONFIG, TEXT) == (0, "")
    assert _shown(CONFIG.replace(views=0), TEXT) == (0, "")
    with pytest.raises(UsageError, match="views = 2 are crops of pictures, but things holds texts"):
        _shown(CONFIG.replace(views=2), TEXT)
