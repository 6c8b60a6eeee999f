"""The model of a finished run in plain form: its network, its head, and how to make them anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedtl.data.input_kinds import EMBEDDING, InputKind
from fedtl.errors import FedtlError
from fedtl.federation.classifier import Classifier
from fedtl.kinds import KINDS
from fedtl.plain_models import own_networks
from fedtl.plain_models.agreement import TOLERANCE, gap, outputs
from fedtl.plain_models.merged import merged
from fedtl.plain_models.plain_head import (
    PlainHead,
    like_the_runs,
    own_outputs,
    plain_heads,
    size_of_outputs,
)
from fedtl.plain_models.probe import probe
from fedtl.plain_models.recipe import Recipe
from fedtl.plain_models.torchvision_form import torchvision_form
from fedtl.transfer.backbones import Backbone

_COMPARED, _SEED = 3, 1


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A network with its federated head, in evaluation mode, on the CPU.

    Its outputs are the run's: logits, divided by the head's temperature, where their softmax are
    probabilities, and the scores of closed forms as they are.

    Attributes:
        module: Takes what ``backbone.preprocessing`` collates, of embeddings ``(n, d)``; returns
            ``(n, K)``.
        written: The module whose weights are written; of transformers' models, which return more
            than logits, another than ``module``.
        recipe: How Python makes ``written`` without fedtl; ``None`` if it cannot.
        refusal: Why it cannot.
        kind: What it takes.
        backbone: The run's; ``None`` for embeddings.
        classes: The K class names, in the order of the outputs.
        batch: A batch of it.
        difference: The largest difference from fedtl's own outputs on that batch, relative to the
            largest of these, or to ``size`` if that is less.
        size: How large the outputs of real inputs are, about.
        sensitivity: How much these change, relative to ``size``, if features are rounded otherwise
            in their last digit.
        told: What differs from the network as its library makes it, a sentence each.
    """

    module: nn.Module
    written: nn.Module
    recipe: Recipe | None
    refusal: str
    kind: InputKind
    backbone: Backbone | None
    classes: tuple[str, ...]
    batch: tuple[Tensor, ...]
    difference: float
    size: float
    sensitivity: float
    told: tuple[str, ...]


def plain_model(classifier: Classifier) -> PlainModel:
    """Return the model of a finished run.

    Raises:
        UsageError: The backbone's package is missing.
        FedtlError: The backbone is not available or differs from the run's, or no plain form says
            what the run's own network says.
    """
    backbone = None if classifier.takes_embeddings else classifier.backbone()
    batch: tuple[Tensor, ...]
    if backbone is None:
        width = classifier.feature_size
        batch = (torch.randn(_COMPARED, width, generator=torch.Generator().manual_seed(_SEED)),)
        features = batch[0]
    else:
        batch = probe(backbone.preprocessing, _COMPARED, _SEED)
        features = outputs(backbone.network, batch)
    expected = own_outputs(classifier, features)
    if backbone is not None:
        classifier, backbone = merged(classifier, backbone)
    size, sensitivity = _rounding(classifier, features)
    for head in plain_heads(classifier, features):
        form = _form(classifier, backbone, head, batch)
        found = outputs(form.module, batch)
        if gap(expected, found) > TOLERANCE:
            continue
        recipe = form.recipe
        return PlainModel(
            module=form.module,
            written=form.written,
            recipe=recipe,
            refusal=form.refusal,
            kind=EMBEDDING if backbone is None else backbone.preprocessing.kind,
            backbone=backbone,
            classes=classifier.trained.classes,
            batch=batch,
            difference=gap(expected, found, size),
            size=size,
            sensitivity=sensitivity,
            told=tuple(filter(None, (head.told, *(recipe.told if recipe else ())))),
        )
    raise FedtlError(
        f"{classifier.config.backbone} with the head of {classifier.run} gives other outputs in "
        f"plain form (by more than {TOLERANCE:g}), so it is not exported."
    )


def _rounding(classifier: Classifier, features: Tensor) -> tuple[float, float]:
    """Return what :attr:`PlainModel.size` is, and ``sensitivity``."""
    rows = like_the_runs(classifier, features)
    up = torch.rand(rows.shape, generator=torch.Generator().manual_seed(_SEED)) < 0.5
    other = torch.nextafter(rows, torch.where(up, torch.inf, -torch.inf))
    found = own_outputs(classifier, rows)
    size = size_of_outputs(classifier, found)
    return size, gap(found, own_outputs(classifier, other), size)


@dataclass(frozen=True, eq=False)
class _Form:
    module: nn.Module
    written: nn.Module
    recipe: Recipe | None
    refusal: str = ""


def _form(
    classifier: Classifier, backbone: Backbone | None, head: PlainHead, batch: Sequence[Tensor]
) -> _Form:
    """Return the form that a kind of backbone has."""
    if backbone is None:
        recipe = own_networks.head_recipe(head) if head.code else None
        return _Form(head.module, head.module, recipe, head.told)
    family, argument = KINDS["backbone"].found(classifier.config.backbone)
    if family == "torchvision":
        model, made = torchvision_form(argument, backbone, head)
        return _Form(model, model, made, head.told)
    module = own_networks.whole(backbone, head)
    if not head.code:
        return _Form(module, module, None, head.told)
    recipe, refusal = None, ""
    if family == "fedtl-tiny":
        recipe = own_networks.tiny_recipe(head)
    elif family == "log-mel":
        recipe = own_networks.log_mel_recipe(backbone, head)
    elif family == "wordllama":
        recipe = own_networks.wordllama_recipe(backbone, head)
    elif family == "tabular":
        if isinstance(backbone.network, nn.Identity):
            return _Form(head.module, head.module, own_networks.head_recipe(head))
        refusal = "the random features of backbone = tabular are numbers that the run drew"
    elif family == "open-clip":
        recipe = own_networks.open_clip_recipe(argument, head)
    elif family == "timm":
        from fedtl.plain_models.timm_form import timm_form

        whole = timm_form(argument, backbone, head)
        if whole is not None:
            return _Form(whole[0], *whole)
        refusal = "timm's classifier on this network is not one linear layer"
    elif family == "hf" and classifier.config.option("trust-remote-code"):
        refusal = "the Python that makes this network is the run's own"
    elif family == "hf":
        from fedtl.plain_models.huggingface_form import huggingface_form

        found = huggingface_form(backbone, head, classifier.trained.classes, batch)
        if found is not None:
            return _Form(module, *found)
        refusal = (
            "transformers' own models for classification pool this network's vectors otherwise, or "
            "have more than one linear layer"
        )
    else:
        refusal = f"backbone = {classifier.config.backbone!r} is a class of the run's environment"
    return _Form(module, module, recipe, refusal)
