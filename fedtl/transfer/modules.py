"""A trained head as a module of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fedtl.transfer.client_block import given_below, takes_below
from fedtl.transfer.head_file import TrainedHead
from fedtl.transfer.heads import Head
from fedtl.transfer.standardisation import Standardisation


class HeadModule(nn.Module):
    """A head that takes features, shape ``(n, d)``, and returns outputs, shape ``(n, K)``.

    Outputs are logits, divided by the head's temperature, if their softmax are probabilities; the
    scores of a closed form, which are no logits, are as they are.

    Args:
        form: The head's form, for d features and K classes.
        trained: Its parameters, and the standardisation of the features that it expects.
        tempered: Whether outputs are logits.

    Attributes:
        classes: The K class names, in the order of the outputs.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, form: Head, trained: TrainedHead, *, tempered: bool) -> None:
        super().__init__()
        self.classes = trained.classes
        self._form, self._names = form, tuple(form.shapes)
        self._temperature = trained.temperature if tempered else 1.0
        for name in self._names:
            value = torch.from_numpy(np.array(trained.arrays[name], np.float32))
            self.register_parameter(_attribute(name), nn.Parameter(value))
        # Any head's first parameter is the one that meets the features.
        width = next(iter(form.shapes.values()))[-1]
        found = trained.standardisation or Standardisation.identity(width)
        self.register_buffer("mean", torch.from_numpy(np.array(found.mean, np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.array(found.scale, np.float32)))

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs of features as the backbone gives them."""
        if takes_below(self._form):
            crossing = features[:, : features.shape[1] - len(self.mean)]
            x = given_below(crossing, self.mean, self.scale)
        else:
            x = (features - self.mean) * self.scale
        parameters: Mapping[str, Tensor] = {
            name: getattr(self, _attribute(name)).unsqueeze(0) for name in self._names
        }
        return self._form.logits(dict(parameters), x.unsqueeze(0))[0] / self._temperature


def _attribute(name: str) -> str:
    return name.replace(".", "_")
