"""Torchvision's classification architectures, cut before their classifier."""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedtl.determinism import derived_seed
from fedtl.errors import FedtlError, UsageError
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.foreign_keys import torchvision_keys

# Part of a backbone's fingerprint: to be changed with the rule that `cut` describes.
CUT_RULE = "torchvision: before the classifier's first linear layer; AlexNet, VGG: its last; v1"

_AUXILIARY_HEADS = {"Inception3": ("AuxLogits.",), "GoogLeNet": ("aux1.", "aux2.")}
# Names in published weights that older torchvision releases used: (pattern, replacement).
_RENAMED_KEYS = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


@dataclass(frozen=True)
class CutNetwork:
    """A network without its classifier.

    Attributes:
        network: Maps ``(n, 3, size, size)`` to ``(n, feature_size)``.
        feature_size: Number of features.
        removed: Prefixes of the state-dict keys that only the removed parts have.
    """

    network: nn.Module
    feature_size: int
    removed: tuple[str, ...]


class _UninitialisedParameters(TorchFunctionMode):
    """Puts what ``torch.empty`` makes on the meta device: weights that a file will replace.

    Building a network then costs neither memory nor random numbers, and a tensor that the file
    forgets cannot pass for a loaded one. (The meta device for everything fails: some constructors
    compute with small tensors.)
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.empty:
            return function(*args, **{**(kwargs or {}), "device": "meta"})
        if function is Tensor.normal_ and args[0].is_meta:
            # Takes most of a network's making there, and draws nothing.
            return args[0]
        return function(*args, **(kwargs or {}))


def architecture_names() -> list[str]:
    """Return torchvision's classification architectures, by their torchvision names."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def weights_entry(name: str, member: str) -> Any:
    """Return a member of the architecture's weights enum, which downloads nothing.

    Args:
        name: A torchvision architecture.
        member: For example ``"DEFAULT"`` or ``"IMAGENET1K_V1"``.

    Raises:
        UsageError: The architecture or the member is unknown.
    """
    import torchvision

    names = architecture_names()
    if name not in names:
        raise UsageError(
            f"Unknown backbone {name!r}{_suggestion(name, [*names, 'fedtl-tiny'])}; it should be "
            "fedtl-tiny, a torchvision classification architecture, timm:NAME, hf:FOLDER, "
            "open_clip:ARCH@FILE, wordllama, log-mel, tabular, or your own module:Class."
        )
    entries = torchvision.models.get_model_weights(name).__members__
    if member not in entries:
        raise UsageError(
            f"Unknown weights {member!r} for {name}{_suggestion(member, entries)}; they should be "
            f"{', '.join(entries)}, a file (.pth, .safetensors, …), or random."
        )
    return entries[member]


def download(name: str, entry: Any) -> dict[str, Tensor]:
    """Return the state dict of a weights enum's member, downloaded by torchvision once.

    Raises:
        UsageError: The file of an earlier download is damaged.
        FedtlError: The download failed.
    """
    kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if kept.exists():
        return _kept(name, kept)
    try:
        # No code of a file is run, whoever it comes from.
        state = entry.get_state_dict(
            progress=sys.stderr.isatty(), check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise FedtlError(
            f"Could not download {name}'s weights from {entry.url} ({error}); use --weights FILE "
            f"with a copy of that file, or --weights random for an untrained backbone."
        ) from error
    return dict(state)


def _kept(name: str, path: Path) -> dict[str, Tensor]:
    """Return the state dict of torchvision's copy of a file, whose name has its checksum."""
    remedy = f"delete {path}, and it is downloaded again"
    try:
        wanted = re.search(r"-([a-f0-9]{8,})\.", path.name)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FedtlError(f"{name}'s weights {path} cannot be read ({error.strerror}).") from error
    if wanted and not found.startswith(wanted[1]):
        raise UsageError(
            f"torchvision's copy of {name}'s weights is damaged, as its checksum is not "
            f"{wanted[1]}: {remedy}."
        )
    try:
        content = read_checkpoint(path)
    except UsageError as error:
        raise UsageError(f"{str(error).rstrip('.')}; {remedy}.") from None
    return dict(content)


def current_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` under the keys of today's torchvision."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in torchvision_keys(state).items():
        for pattern, replacement in _RENAMED_KEYS:
            key = pattern.sub(replacement, key)
        renamed[key] = tensor
    return renamed


def cut(model: nn.Module) -> CutNetwork:
    """Remove a torchvision classification model's classifier, in place.

    The classifier is the model's last child (``fc``, ``classifier``, ``heads`` or ``head``). It is
    cut before its first linear layer, so that the features are the pooled ones: 512 for resnet18,
    1280 for mobilenet_v2, 960 for mobilenet_v3_large, 768 for convnext_tiny and vit_b_16. What
    stands before that layer (the pooling of MaxViT, the norm of MaxViT and ConvNeXt) stays.
    AlexNet and VGG flatten their last feature map (VGG: 25,088 numbers) and so are cut before
    their last linear layer: 4096 features. SqueezeNet's classifier is a convolution; its
    features are the 512 globally averaged channels before it. GoogLeNet's and Inception's
    auxiliary heads are left out.
    """
    name, classifier = list(model.named_children())[-1]
    if isinstance(classifier, nn.Linear):
        setattr(model, name, nn.Identity())
        auxiliary = _AUXILIARY_HEADS.get(type(model).__name__, ())
        return CutNetwork(model, classifier.in_features, (f"{name}.", *auxiliary))
    layers = list(classifier.named_children())
    if type(model).__name__ == "SqueezeNet":
        at = next(i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d))
        size: Any = layers[at][1].in_channels
        # The model flattens what the classifier returns.
        setattr(model, name, nn.AdaptiveAvgPool2d(1))
        return CutNetwork(model, size, (f"{name}.",))
    linear = [i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear)]
    at = linear[-1] if type(model).__name__ in ("AlexNet", "VGG") else linear[0]
    for child, _ in layers[at:]:
        delattr(classifier, child)
    removed = tuple(f"{name}.{child}." for child, _ in layers[at:])
    size = layers[at][1].in_features
    return CutNetwork(model, size, removed)


def uninitialised(name: str, image_size: int) -> CutNetwork:
    """Return the cut network with parameters on the meta device, to be replaced by loading.

    Args:
        name: A torchvision architecture.
        image_size: Side of the input in pixels, which ViT and MaxViT are built for.

    Raises:
        UsageError: The architecture cannot take pictures of that size.
    """
    with _UninitialisedParameters():
        return cut(_build(name, image_size, init_weights=False))


def randomly_initialised(name: str, image_size: int, seed: int) -> CutNetwork:
    """Return the cut network with torchvision's own initialisation, drawn only from ``seed``.

    Raises:
        UsageError: The architecture cannot take pictures of that size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, f"random weights of {name}"))
        return cut(_build(name, image_size, init_weights=True))


def architecture_options(name: str, image_size: int) -> dict[str, Any]:
    """Return what torchvision is told beside an architecture's name, without initialisation."""
    if name in ("googlenet", "inception_v3"):
        # The published weights expect inputs rescaled from ImageNet's constants to [-1, 1].
        return {"aux_logits": False, "transform_input": True}
    # These two are built for one picture size: position embeddings, windows.
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    return {}


def draws_slowly(name: str) -> bool:
    """Return whether an architecture has ``init_weights``: its own, slow initialisation."""
    return name in ("googlenet", "inception_v3") or name.startswith("vgg")


def _build(name: str, image_size: int, *, init_weights: bool) -> nn.Module:
    import torchvision

    entry = weights_entry(name, "DEFAULT")
    options = architecture_options(name, image_size)
    of_one_size = bool(options.keys() & {"image_size", "input_size"})
    if draws_slowly(name):
        options["init_weights"] = init_weights
    if not of_one_size and image_size < max(entry.meta["min_size"]):
        raise UsageError(
            f"{name} takes pictures of at least {max(entry.meta['min_size'])} pixels a side, "
            f"not {image_size}."
        )
    try:
        return torchvision.models.get_model(name, weights=None, **options)  # type: ignore[no-any-return]
    except (ValueError, AssertionError) as error:
        raise UsageError(
            f"{name} cannot take pictures of {image_size} pixels a side; its native size is "
            f"{entry.transforms().crop_size[0]}."
        ) from error


def _suggestion(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
