"""``--backbone fedtl-tiny``: the network that fedtl ships."""

from __future__ import annotations

from pathlib import Path

from fedtl.errors import UsageError
from fedtl.transfer import tiny
from fedtl.transfer.backbones.base import DEFAULT, RANDOM, TINY, Backbone, Family, is_weights_file
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.state_search import find_state


class FedtlTiny(Family):
    """The shipped backbone: a dictionary of patches beside a small residual network."""

    def load(self) -> Backbone:
        """See :class:`Family`."""
        weights = self.config.weights
        told = ""
        if weights == RANDOM:
            network = tiny.random_tiny(self.config.inputs_seed)
        elif weights == DEFAULT:
            network = tiny.tiny_of(read_checkpoint(tiny.SHIPPED_WEIGHTS), "shipped weights file")
        elif is_weights_file(weights):
            source = f"weights file {weights}"
            content = read_checkpoint(Path(weights).expanduser())
            found = find_state(content, tiny.tiny_keys(), source=source)
            network, told = tiny.tiny_of(found.state, source), found.told
        else:
            raise UsageError(
                f"Unknown weights {weights!r} for {TINY}; they should be {DEFAULT}, a file "
                f"(.pth, .safetensors, …), or {RANDOM}."
            )
        size = self.config.image_size or tiny.IMAGE_SIZE
        if size < tiny.SMALLEST_PICTURE:
            raise UsageError(
                f"{TINY} takes pictures of at least {tiny.SMALLEST_PICTURE} pixels a side, not "
                f"{size}."
            )
        preprocessing = Preprocessing(
            image_size=size,
            resize=None,
            interpolation="BILINEAR",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        return self.frozen(
            network, network.feature_size, preprocessing, name=TINY, rule=tiny.RULE, told=told
        )


BACKBONE = FedtlTiny
