"""Every family of torchvision's: its own class with another classifier says what fedtl says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from plain_networks import TEMPERATURE, drawn_classifier, drawn_torchvision, features_of, made_anew

from fedtl.config import RunConfig
from fedtl.plain_models.plain_head import plain_heads
from fedtl.plain_models.probe import probe
from fedtl.plain_models.torchvision_form import torchvision_form

# What stands in the script for the classifier, and the side of the pictures.
LINES = {
    "alexnet": (64, "model.classifier[6] = nn.Linear(4096, 3)"),
    "convnext_tiny": (64, "model.classifier[2] = nn.Linear(768, 3)"),
    "densenet121": (32, "model.classifier = nn.Linear(1024, 3)"),
    "efficientnet_b0": (32, "model.classifier[1] = nn.Linear(1280, 3)"),
    "googlenet": (32, "model.fc = nn.Linear(1024, 3)"),
    "inception_v3": (75, "model.fc = nn.Linear(2048, 3)"),
    "maxvit_t": (224, "model.classifier = nn.Sequential(*list(model.classifier)[:3], "),
    "mnasnet0_5": (32, "model.classifier[1] = nn.Linear(1280, 3)"),
    "mobilenet_v2": (32, "model.classifier[1] = nn.Linear(1280, 3)"),
    "mobilenet_v3_small": (32, "model.classifier = nn.Sequential(nn.Linear(576, 3))"),
    "regnet_x_400mf": (32, "model.fc = nn.Linear(400, 3)"),
    "resnet18": (32, "model.fc = nn.Linear(512, 3)"),
    "shufflenet_v2_x0_5": (32, "model.fc = nn.Linear(1024, 3)"),
    "squeezenet1_1": (32, "model.classifier[1] = nn.Conv2d(512, 3, kernel_size=1)"),
    "swin_t": (224, "model.head = nn.Linear(768, 3)"),
    "vgg11": (32, "model.classifier[6] = nn.Linear(4096, 3)"),
    "vit_b_32": (32, "model.heads.head = nn.Linear(768, 3)"),
}


def _compared(name: str, size: int, head: str) -> tuple[str, ...]:
    """Compare the plain model with fedtl's features and head; return the lines that make it."""
    backbone = drawn_torchvision(name, size)
    counts = (1, 2) if size > 200 else (2, 3)
    batches = [probe(backbone.preprocessing, count, seed) for seed, count in enumerate(counts)]
    features = features_of(backbone, batches)
    config = RunConfig(backbone=name, head=head, strategy="fedavg")
    if head == "mlp":
        config = config.replace(options=(("hidden-units", 5),))
    classifier = drawn_classifier(config.settled(()), features)
    plain = next(plain_heads(classifier))
    model, recipe = torchvision_form(name, backbone, plain)
    assert recipe is not None
    assert type(model).__module__.startswith("torchvision.models.")
    again = made_anew(recipe, model)
    expected = classifier.outputs(features) / TEMPERATURE
    assert expected.std(0).min() > 0.1, "a network that gives all pictures the same tells nothing"
    # One batch shows that the lines make the network that the others were given to.
    for one, shown in ((model, batches), (again, batches[:1])):
        with torch.no_grad():
            found = torch.cat([one(*batch) for batch in shown]).numpy()
        wanted = expected[: len(found)]
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(expected).max())
    return recipe.build


@pytest.mark.parametrize("name", LINES)
def test_a_family_with_a_linear_head(name: str) -> None:
    size, line = LINES[name]
    build = _compared(name, size, "linear")
    assert build[0].startswith(f"model = torchvision.models.{name}(weights=None")
    assert build[1].startswith(line)


@pytest.mark.parametrize("head", ["mlp", "cosine"])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_other_heads_stand_in_the_same_place(name: str, head: str) -> None:
    _compared(name, 32, head)


def test_no_family_is_missing() -> None:
    """A family is a module of torchvision's: a new one needs a line above."""

    def families(names: list[str]) -> set[str]:
        return {torchvision.models.get_model_builder(name).__module__ for name in names}

    every = torchvision.models.list_models(module=torchvision.models)
    assert families(list(LINES)) == families(every)
