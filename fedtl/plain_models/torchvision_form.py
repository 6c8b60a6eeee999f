"""Torchvision's architectures as torchvision makes them, their classifier replaced by a head."""

from __future__ import annotations

from torch import nn

from fedtl.plain_models.plain_head import PlainHead
from fedtl.plain_models.recipe import Recipe, call, sources
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.torchvision_models import architecture_options, draws_slowly, uninitialised

_OF_SQUEEZENET = (
    "SqueezeNet's classifier has no ReLU before its mean: the head was trained on means."
)


def torchvision_form(
    name: str, backbone: Backbone, head: PlainHead
) -> tuple[nn.Module, Recipe | None]:
    """Return the whole network, and the lines that make it; ``None`` for a head without code.

    The head stands where :func:`fedtl.transfer.torchvision_models.cut` cuts the classifier off, so
    what torchvision pools or normalises before it stays, and layers behind it are gone.
    """
    assert isinstance(backbone.preprocessing, Preprocessing)
    size = backbone.preprocessing.image_size
    cut = uninitialised(name, size)
    model: nn.Module = cut.network
    model.load_state_dict(backbone.network.state_dict(), assign=True)
    model.eval().requires_grad_(False)
    options = architecture_options(name, size)
    if draws_slowly(name):
        options["init_weights"] = False
    build = [f"model = {call(f'torchvision.models.{name}', weights=None, **options)}"]
    told: list[str] = []
    child = list(model.named_children())[-1][0]
    if type(model).__name__ == "SqueezeNet":
        lines, squeezed = _squeezed(model, child, head)
        build += lines
        told += squeezed
    elif cut.removed[0] == f"{child}.":
        setattr(model, child, head.module)
        build.append(f"model.{child} = {head.code}")
    else:
        build.append(_in_sequence(model, child, cut.removed, head))
    if not head.code:
        return model, None
    imports = ("import torch", "import torchvision", "from torch import Tensor, nn")
    definitions = sources(*head.layers)
    if not head.layers:
        imports = ("import torch", "import torchvision", "from torch import nn")
    return model, Recipe(
        needs=("torch", "torchvision"),
        imports=imports,
        build=tuple(build),
        definitions=definitions,
        versioned=type(model).__name__ == "MNASNet",
        told=tuple(told),
    )


def _in_sequence(model: nn.Module, child: str, removed: tuple[str, ...], head: PlainHead) -> str:
    """Put the head behind what is left of a classifier of several layers; return the line."""
    key = removed[0].removeprefix(f"{child}.").rstrip(".")
    classifier = getattr(model, child)
    before = len(classifier)
    classifier.add_module(key, head.module)
    if len(removed) > 1:
        kept = f"*list(model.{child})[:{before}], " if before else ""
        return f"model.{child} = nn.Sequential({kept}{head.code})"
    if key.isdigit():
        return f"model.{child}[{key}] = {head.code}"
    return f"model.{child}.{key} = {head.code}"


def _squeezed(model: nn.Module, child: str, head: PlainHead) -> tuple[list[str], list[str]]:
    """Put the head in place of SqueezeNet's convolution; return lines, and what differs."""
    linear = head.linear
    if linear is None:
        layers = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), head.module]
        setattr(model, child, nn.Sequential(*layers))
        made = f"nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), {head.code})"
        return [f"model.{child} = {made}"], [_OF_SQUEEZENET]
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, device="meta")
    convolution.weight = nn.Parameter(linear.weight.detach()[:, :, None, None].clone())
    convolution.bias = nn.Parameter(linear.bias.detach())
    pool = nn.AdaptiveAvgPool2d((1, 1))
    layers = [nn.Dropout(0.5), convolution, nn.Identity(), pool]
    setattr(model, child, nn.Sequential(*layers).eval())
    sizes = f"{linear.in_features}, {linear.out_features}"
    return [
        f"model.{child}[1] = nn.Conv2d({sizes}, kernel_size=1)",
        f"model.{child}[2] = nn.Identity()",
    ], [_OF_SQUEEZENET]
