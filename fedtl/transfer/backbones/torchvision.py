"""``--backbone resnet18``, and torchvision's other classification architectures."""

from __future__ import annotations

from pathlib import Path

from fedtl.transfer.backbones.base import DEFAULT, RANDOM, Backbone, Family, is_weights_file
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.state_search import find_state
from fedtl.transfer.weights_file import load_checked


class Torchvision(Family):
    """A classification architecture of torchvision's, cut before its classifier."""

    def load(self) -> Backbone:
        """See :class:`Family`, and :func:`fedtl.transfer.torchvision_models.cut`."""
        from fedtl.transfer import torchvision_models as models

        name, config = self.argument, self.config
        weights = config.weights

        by_name = weights != RANDOM and not is_weights_file(weights)
        entry = models.weights_entry(name, weights if by_name else DEFAULT)
        preprocessing = Preprocessing.of_torchvision(entry.transforms(), config.image_size)
        told = ""
        if weights == RANDOM:
            cut = models.randomly_initialised(name, preprocessing.image_size, config.inputs_seed)
        else:
            cut = models.uninitialised(name, preprocessing.image_size)
            if by_name:
                source, content = f"{name}'s {weights} weights", models.download(name, entry)
            else:
                source = f"weights file {weights}"
                content = read_checkpoint(Path(weights).expanduser())
            keys = cut.network.state_dict().keys()
            found = find_state(content, keys, source=source, renamed=models.current_keys)
            load_checked(cut.network, found.state, source=source, ignored=cut.removed)
            told = found.told
        return self.frozen(
            cut.network, cut.feature_size, preprocessing, name=name, rule=models.CUT_RULE, told=told
        )


BACKBONE = Torchvision
