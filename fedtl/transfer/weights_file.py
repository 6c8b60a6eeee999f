"""Reading a state dict from a file and checking it, key by key, against a network."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtl.errors import FedtlError, UsageError

_WRAPPERS = ("state_dict", "model")
_DATA_PARALLEL_PREFIX = "module."
# A batch normalisation's step counter plays no part in evaluation, and converted files lack it.
_STEP_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.pth``/``.pt`` or ``.safetensors`` file, on the CPU.

    A PyTorch file may wrap its state dict as ``{"state_dict": ...}`` or ``{"model": ...}``, and
    its keys may carry the ``module.`` prefix of ``DataParallel``. It is unpickled with
    ``weights_only=True``, so that no code in the file is run.

    Raises:
        UsageError: The file does not exist, cannot be read, or holds no state dict.
    """
    if not path.is_file():
        raise UsageError(f"The weights file {path} does not exist.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"The weights file {path} holds no state dict (names and tensors).")
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise UsageError(
                f"The weights file {path} is not a plain state dict: its entry {key!r} is "
                f"a {type(tensor).__name__}, not a tensor."
            )
    return {key.removeprefix(_DATA_PARALLEL_PREFIX): tensor for key, tensor in content.items()}


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
            if key.endswith(_STEP_COUNTER):
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
        if not key.endswith(_STEP_COUNTER)
    ]


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"The weights file {path} is not a safetensors file: {error}.") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FedtlError(f"The weights file {path} cannot be read: {error}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(
            f"The weights file {path} is not a PyTorch state dict that can be read without running "
            f"code; save one with torch.save(model.state_dict(), {path.name!r}) or as .safetensors."
        ) from error
