"""Blocks on a GPU, which no test machine has: PyTorch's own stand-in tensors follow the devices."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tiny_blocks import BACKBONE
from torch._subclasses import FakeTensorMode

from fedtl.config import RunConfig
from fedtl.transfer import devices, trained_blocks
from fedtl.transfer.backbones import backbone_of
from fedtl.transfer.boundary import boundary_of, only_network
from fedtl.transfer.devices import reproducible_arithmetic, where_blocks_are_trained
from fedtl.transfer.heads import Tensors, head_of

CONFIG = RunConfig(backbone=BACKBONE, trainable_blocks=2, init="none")


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_blocks_run_where_the_gpu_is_and_their_features_come_back(
    adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in refuses an operation of tensors on two devices, as a GPU does."""
    gpu, seen = torch.device("cuda", 0), list[Any]()
    monkeypatch.setattr(trained_blocks, "device_named", lambda name: gpu)
    network = only_network(CONFIG)
    boundary = boundary_of(network)
    width = backbone_of(CONFIG).feature_size
    head = head_of(CONFIG.replace(adapter=adapter), features=width, classes=3)
    start = head.initial("auto", 0)
    called = trained_blocks.functional_call

    def watched(module: Any, weights: Tensors, given: Any) -> Any:
        found = called(module, weights, given)
        seen.append(({value.device for value in weights.values()}, found.device))
        return found

    monkeypatch.setattr(trained_blocks, "functional_call", watched)
    with FakeTensorMode(allow_non_fake_inputs=True):
        parameters = {name: torch.empty(2, *value.shape) for name, value in start.items()}
        x = torch.empty(2, 5, boundary.size + 2 * width)
        logits = head.logits(parameters, x)
    assert (logits.device.type, logits.shape) == ("cpu", (2, 5, 3))
    assert seen == [({gpu}, gpu)] * 2
    boundary._moved.clear()


def test_a_run_says_where_blocks_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert where_blocks_are_trained(engine="ray", client_gpus=0.0) == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    for engine, share, told in (
        ("ray", 0.0, "trained on the CPU, though this machine has a GPU"),
        ("ray", 0.5, r"trained on a GPU \(Some GPU\)"),
        ("inline", 0.0, r"trained on a GPU \(Some GPU\)"),
    ):
        assert re.search(told, where_blocks_are_trained(engine=engine, client_gpus=share))


def test_arithmetic_is_as_it_was_afterwards() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    asked = matmul.allow_tf32
    try:
        for wanted in (True, False):
            matmul.allow_tf32 = wanted
            before = (wanted, cudnn.deterministic, cudnn.allow_tf32)
            with reproducible_arithmetic():
                inside = (matmul.allow_tf32, cudnn.deterministic, cudnn.allow_tf32)
            assert inside == (False, True, False)
            assert (matmul.allow_tf32, cudnn.deterministic, cudnn.allow_tf32) == before
    finally:
        matmul.allow_tf32 = asked
    assert devices.device_named("auto").type == "cpu"
