"""Checking a state dict, key by key, against a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.transfer.state_search import STEP_COUNTER


def load_checked(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, ignored: Iterable[str] = ()
) -> None:
    """Put ``state`` into ``network``, in float32, after checking every key and shape.

    Args:
        network: The network to fill; its tensors may be on the meta device.
        state: Tensors by torchvision's keys, any floating dtype.
        source: What error messages call the weights, for example ``"weights file a.pth"``.
        ignored: Prefixes of keys that ``state`` may have and ``network`` need not (the cut-off
            classifier, auxiliary heads).

    Raises:
        UsageError: A key is missing, has another shape, or is unknown; the first one is named.
    """
    expected: OrderedDict[str, Tensor] = network.state_dict()  # type: ignore[assignment]
    kept: OrderedDict[str, Tensor] = OrderedDict()
    for key, tensor in expected.items():
        found = state.get(key)
        if found is None:
            if key.endswith(STEP_COUNTER):
                kept[key] = torch.zeros((), dtype=torch.int64)
                continue
            raise UsageError(
                f"The {source} does not fit: it has no {key}, which should be of shape "
                f"{tuple(tensor.shape)}."
            )
        if found.shape != tensor.shape:
            raise UsageError(
                f"The {source} does not fit: its {key} has shape {tuple(found.shape)}, and should "
                f"have {tuple(tensor.shape)}."
            )
        kept[key] = found.to(torch.float32) if found.is_floating_point() else found
    for key, tensor in state.items():
        if key not in expected and not key.startswith(tuple(ignored)):
            raise UsageError(
                f"The {source} does not fit: its {key}, of shape {tuple(tensor.shape)}, has no "
                f"place in this architecture."
            )
    # Some torchvision networks refuse a state dict that does not say which layout it follows.
    kept._metadata = getattr(expected, "_metadata", None)  # type: ignore[attr-defined]
    network.load_state_dict(kept, assign=True)


def used_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the name and value of every tensor that the network's evaluation depends on."""
    return [
        (key, tensor)
        for key, tensor in network.state_dict().items()
        if not key.endswith(STEP_COUNTER)
    ]
