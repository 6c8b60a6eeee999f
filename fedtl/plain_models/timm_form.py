"""timm's networks as timm makes them for so many classes, with the head as their classifier."""

from __future__ import annotations

import torch
from torch import nn

from fedtl.plain_models.plain_head import PlainHead
from fedtl.plain_models.recipe import Recipe, sources
from fedtl.registry import needed
from fedtl.transfer.backbones import Backbone


def timm_form(name: str, backbone: Backbone, head: PlainHead) -> tuple[nn.Module, Recipe] | None:
    """Return the whole network, and the lines that make it.

    Returns:
        ``None`` if the network with a classifier is not the one without, followed by one linear
        layer, or if the head has no code.
    """
    timm = needed("timm", extra="timm", by=f"backbone = timm:{name}")
    classes = head.linear.out_features if head.linear is not None else 2
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    place = getattr(model, "pretrained_cfg", {}).get("classifier")
    if not isinstance(place, str) or not head.code:
        return None
    found = model.load_state_dict(backbone.network.state_dict(), strict=False)
    own = {f"{place}.weight", f"{place}.bias"}
    if set(found.missing_keys) != own or found.unexpected_keys:
        return None
    classifier = model.get_submodule(place)
    if not isinstance(classifier, nn.Linear) or classifier.in_features != backbone.feature_size:
        return None
    above, _, last = place.rpartition(".")
    setattr(model.get_submodule(above), last, head.module)
    build = [f"model = timm.create_model({name!r}, num_classes={classes})"]
    if head.linear is None:
        build.append(f"model.{place} = {head.code}")
    imports = ["import timm", "import torch"]
    if build[1:]:
        imports.append("from torch import Tensor, nn" if head.layers else "from torch import nn")
    recipe = Recipe(("torch", "timm"), tuple(imports), tuple(build), sources(*head.layers))
    model.eval().requires_grad_(False)
    head.module.requires_grad_(True)
    return model, recipe
