"""The weights of a plain model as a file, read back and compared before anybody relies on it."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtl.errors import FedtlError, UsageError
from fedtl.plain_models.agreement import TOLERANCE, gap, outputs
from fedtl.plain_models.plain_model import PlainModel
from fedtl.plain_models.probe import probe
from fedtl.plain_models.targets import Target, weights_file
from fedtl.registry import needed
from fedtl.transfer.dictionary import ConvolutionalDictionary

# Another runtime sums in another order; what is beyond this is another network.
_OF_ANOTHER_RUNTIME = 1e-3
# By which its features may differ, for heads that magnify them.
_LAST_DIGITS = 10


def write_weights(
    plain: PlainModel, target: Target, folder: Path, names: Sequence[str]
) -> list[str]:
    """Write the weights into a folder; return what is to be told, a sentence each.

    Args:
        plain: The model.
        target: The form.
        folder: An empty one.
        names: Of the network's inputs.

    Raises:
        UsageError: The model has no such form, or a package is missing.
        FedtlError: What was written does not say what the model says.
    """
    path = folder / weights_file(target)
    if target in ("torch", "safetensors"):
        if plain.recipe is None:
            raise UsageError(
                f"There is no plain form of this model for --to {target}: {plain.refusal}; "
                "--to torchscript or --to onnx writes the network as it computes."
            )
        state = plain.written.state_dict()
        if target == "torch":
            torch.save(state, path)
        else:
            _save_safely(state, path, plain.classes)
        return []
    if target == "torchscript":
        return _write_torchscript(plain, path)
    return _write_onnx(plain, path, names)


def _save_safely(state: Mapping[str, Tensor], path: Path, classes: Sequence[str]) -> None:
    from safetensors.torch import save_file

    # Tensors that share memory, as tied ones do, are refused; each gets its own.
    own = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    save_file(own, path, metadata={"format": "pt", "classes": json.dumps(list(classes))})


def _write_torchscript(plain: PlainModel, path: Path) -> list[str]:
    with _quiet(), torch.no_grad():
        try:
            jit: Any = torch.jit  # without types
            traced = jit.trace(_traceable(plain.module), plain.batch, check_trace=False)
            traced.save(str(path))
            loaded = jit.load(str(path))
            batches = batches_of(plain)
            differences = [gap(outputs(plain.module, one), loaded(*one)) for one in batches]
        except Exception as error:  # whatever a network's own code raises while it is traced
            raise UsageError(_untraceable("torchscript", error)) from error
    if max(differences) > TOLERANCE:
        raise FedtlError(_other("TorchScript", max(differences)))
    return []


def _write_onnx(plain: PlainModel, path: Path, names: Sequence[str]) -> list[str]:
    for package in ("onnx", "onnxscript"):
        needed(package, extra="onnx", by="--to onnx")
    shapes: list[dict[int, Any]] = []
    other = batches_of(plain)[-1]
    for one, two in zip(plain.batch, other, strict=True):
        differ = [axis for axis in range(one.ndim) if one.shape[axis] != two.shape[axis]]
        shapes.append(dict.fromkeys(differ, torch.export.Dim.DYNAMIC))
    with _quiet():
        try:
            torch.onnx.export(
                _Called(_traceable(plain.module)),
                plain.batch,
                path,
                dynamo=True,
                input_names=list(names),
                output_names=["logits"],
                # All of them are one argument of the module, *batch.
                dynamic_shapes=(tuple(shapes),),
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever the exporter meets in a network's own code
            raise UsageError(_untraceable("onnx", error)) from error
    if importlib.util.find_spec("onnxruntime") is None:
        return ["The ONNX file was not run here: onnxruntime is not installed."]
    runtime = needed("onnxruntime", extra="onnx", by="--to onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = largest = 0.0
    for batch in batches_of(plain):
        given = dict(zip(names, (one.numpy() for one in batch), strict=True))
        taken = {one.name for one in session.get_inputs()}
        found = session.run(None, {name: given[name] for name in taken})[0]
        pair = outputs(plain.module, batch), torch.from_numpy(found)
        difference = max(difference, gap(*pair))
        largest = max(largest, gap(*pair, plain.size))
    if difference > max(_OF_ANOTHER_RUNTIME, _LAST_DIGITS * plain.sensitivity):
        raise FedtlError(_other("ONNX Runtime", difference))
    if largest > TOLERANCE:
        return [f"ONNX Runtime rounds otherwise: its logits differ by {largest:.0e} of their size."]
    return []


def batches_of(plain: PlainModel) -> list[tuple[Tensor, ...]]:
    """Return the model's batch, and one of other size and length."""
    if plain.backbone is None:
        return [plain.batch, tuple(one[:2] for one in plain.batch)]
    return [plain.batch, probe(plain.backbone.preprocessing, 2, 3)]


class _Called(nn.Module):
    """A module with one name for all of its inputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *batch: Tensor) -> Any:
        """Return the module's outputs."""
        return self.module(*batch)


class _AtOnce(nn.Module):
    """A dictionary that takes all pictures at once; in parts, a trace would keep their number."""

    def __init__(self, dictionary: ConvolutionalDictionary) -> None:
        super().__init__()
        self.dictionary = dictionary

    def forward(self, pixels: Tensor) -> Tensor:
        """See :class:`ConvolutionalDictionary`."""
        return self.dictionary.features_of(pixels)


def _traceable(module: nn.Module) -> nn.Module:
    """Return the module without what a trace cannot hold."""
    traced = copy.deepcopy(module)
    for parent in list(traced.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvolutionalDictionary):
                setattr(parent, name, _AtOnce(child))
    return traced


def _untraceable(target: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return f"This network cannot be written with --to {target}: {reason}"


def _other(what: str, difference: float) -> str:
    return (
        f"{what} gives other logits than the run's model (by {difference:.0e} of their size), so "
        "nothing is exported; choose another --to."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own warnings and progress from the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
