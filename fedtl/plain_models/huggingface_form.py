"""Networks of transformers' with the classifier that transformers puts on them, where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedtl.data.input_kinds import PICTURE, SOUND
from fedtl.plain_models.agreement import TOLERANCE, gap, outputs
from fedtl.plain_models.own_networks import whole
from fedtl.plain_models.plain_head import PlainHead
from fedtl.plain_models.recipe import Recipe
from fedtl.registry import needed
from fedtl.transfer.backbones import Backbone

_AUTOMATIC = {
    PICTURE: "AutoModelForImageClassification",
    SOUND: "AutoModelForAudioClassification",
}


def huggingface_form(
    backbone: Backbone, head: PlainHead, classes: tuple[str, ...], batch: Sequence[Tensor]
) -> tuple[nn.Module, Recipe] | None:
    """Return transformers' own model for classification with the head, and what makes it.

    Which vectors such a model pools, and how, differs from network to network, so its logits of a
    batch decide.

    Args:
        backbone: Of transformers.
        head: The run's.
        classes: Their names.
        batch: As the backbone takes it.

    Returns:
        ``None`` if transformers has none that says what the run's own network and head say.
    """
    body: Any = getattr(backbone.network, "model", None)
    automatic = _AUTOMATIC.get(backbone.preprocessing.kind)
    if automatic is None or head.linear is None:
        return None
    model = _with_classifier(body, automatic, classes)
    if model is None or not _replaced(model, head.linear):
        return None
    model.eval().requires_grad_(False)
    with torch.no_grad():
        found = model(batch[0]).logits
    if gap(outputs(whole(backbone, head), batch), found) > TOLERANCE:
        return None
    build = (
        "configuration = transformers.AutoConfig.from_pretrained(HERE)",
        f"model = transformers.{automatic}.from_config(configuration)",
    )
    files = {"config.json": model.config.to_json_string().encode()}
    return model, Recipe(
        needs=("torch", "transformers"),
        imports=("import torch", "import transformers"),
        build=build,
        files=files,
        called="model(batch[0]).logits",
    )


def _with_classifier(body: Any, automatic: str, classes: tuple[str, ...]) -> Any | None:
    """Return a model for classification with a network's weights; ``None`` if there is none."""
    transformers = needed("transformers", extra="text", by="backbone = hf")
    configuration = type(body.config).from_dict(body.config.to_dict())
    configuration.id2label = dict(enumerate(classes))
    configuration.label2id = {name: at for at, name in enumerate(classes)}
    if getattr(configuration, "classifier_proj_size", None):
        # wav2vec 2.0 and kin project before they pool: by the identity here.
        configuration.classifier_proj_size = configuration.hidden_size
    try:
        with torch.random.fork_rng(devices=[]):
            automatically = getattr(transformers, automatic)
            model = automatically.from_config(configuration, trust_remote_code=False)
    except ValueError:  # no such model for this network
        return None
    found = model.base_model.load_state_dict(body.state_dict(), strict=False)
    if found.missing_keys or any("pooler" not in key for key in found.unexpected_keys):
        return None
    return model


def _replaced(model: Any, linear: nn.Linear) -> bool:
    """Put the head in place of the classifier; return whether nothing else is new."""
    prefix = f"{model.base_model_prefix}."
    own = {name for name, _ in model.named_parameters() if not name.startswith(prefix)}
    layers = {name.rpartition(".")[0] for name in own}
    with torch.no_grad():
        if "projector" in layers:
            model.projector.weight.copy_(torch.eye(len(model.projector.weight)))
            model.projector.bias.zero_()
            layers.remove("projector")
        if len(layers) != 1:
            return False
        classifier = model.get_submodule(layers.pop())
        fits = isinstance(classifier, nn.Linear) and classifier.bias is not None
        if not fits or classifier.weight.shape != linear.weight.shape:
            return False
        classifier.weight.copy_(linear.weight)
        classifier.bias.copy_(linear.bias)
    return True
