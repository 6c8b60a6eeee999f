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
        UsageError: A key is missing, has another shape, is unknown, or holds no finite numbers; the
            first one is named.
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
                f"{tuple(tensor.shape)}{_of_another(expected, state)}."
            )
        if found.shape != tensor.shape:
            raise UsageError(
                f"The {source} does not fit: its {key} has shape {tuple(found.shape)}, and should "
                f"have {tuple(tensor.shape)}."
            )
        if tensor.is_floating_point():
            _check_values(key, found, source)
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


def _of_another(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    common = len(expected.keys() & state.keys())
    few = 2 * common < len(expected)
    return f" ({common} of {len(expected)} names fit: is it another network's?)" if few else ""


def _check_values(key: str, found: Tensor, source: str) -> None:
    if not found.is_floating_point() or found.is_quantized or found.layout != torch.strided:
        kind = "quantized" if found.is_quantized else str(found.dtype).removeprefix("torch.")
        kind = kind if found.layout == torch.strided else f"sparse {kind}"
        raise UsageError(
            f"The {source} cannot be used: its {key} is {kind}, and should be dense floating-point "
            "numbers; save the network as it was before it was quantized or pruned."
        )
    if not torch.isfinite(found).all():
        raise UsageError(
            f"The {source} cannot be used: its {key} holds values that are NaN or infinite; take a "
            "checkpoint from before training failed."
        )


def used_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the name and value of every tensor that the network's evaluation depends on."""
    return [
        (key, tensor)
        for key, tensor in network.state_dict().items()
        if not key.endswith(STEP_COUNTER)
    ]
