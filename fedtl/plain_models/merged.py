"""A run that trained blocks of its backbone, as one that trained a head on the whole network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fedtl.federation.classifier import Classifier
from fedtl.transfer.backbones import Backbone, backbone_of
from fedtl.transfer.trained_blocks import TrainedBlocks


def merged(classifier: Classifier, backbone: Backbone) -> tuple[Classifier, Backbone]:
    """Return a head on the features of the whole network, and that network with trained weights.

    Args:
        classifier: Of a finished run.
        backbone: Its own, cut if the run trained blocks; a run without any stays as it is.
    """
    form = classifier.form(classifier.feature_size)
    if not isinstance(form, TrainedBlocks):
        return classifier, backbone
    arrays = classifier.trained.arrays
    weights = form.weights_of(
        {name: torch.from_numpy(np.array(value, np.float32)) for name, value in arrays.items()}
    )
    whole = backbone_of(classifier.config)
    whole.network.load_state_dict({**whole.network.state_dict(), **weights})
    head = replace(classifier.trained, arrays={name: arrays[name] for name in form.top.shapes})
    config = classifier.config.replace(trainable_blocks=0, train_from="")
    return replace(classifier, config=config, trained=head), whole
