"""A backbone's fingerprint covers each field of its preprocessing, and what else is in it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from fedtl.transfer.backbones.base import fingerprint
from fedtl.transfer.preprocessing import Preprocessing

PLAIN = Preprocessing(
    image_size=8, resize=9, interpolation="BILINEAR", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
OTHERS: dict[str, list[Any]] = {
    "image_size": [9],
    "resize": [10, None],
    "interpolation": ["BICUBIC"],
    "mean": [(0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1)],
    "std": [(1.1, 1.0, 1.0), (1.0, 1.1, 1.0), (1.0, 1.0, 1.1)],
}


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).eval()


def _print(preprocessing: Preprocessing = PLAIN, name: str = "net", rule: str = "pooled") -> str:
    return fingerprint(name, _network(), preprocessing, rule)


def test_every_field_is_tried() -> None:
    assert set(OTHERS) == {field.name for field in fields(Preprocessing)}


@pytest.mark.parametrize("field", OTHERS)
def test_another_preprocessing_is_another_backbone(field: str) -> None:
    prints = [_print(replace(PLAIN, **{field: value})) for value in OTHERS[field]]
    assert len({_print(), *prints}) == 1 + len(prints)


def test_so_is_another_name_and_another_cut() -> None:
    assert len({_print(), _print(name="other"), _print(rule="flattened")}) == 3
    assert _print() == _print()


@pytest.mark.parametrize("tensor", ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean"])
def test_so_is_one_other_number_in_any_tensor(tensor: str) -> None:
    network = _network()
    value = network.state_dict()[tensor]
    value.view(-1)[0] = torch.nextafter(value.view(-1)[0], torch.tensor(9.0))
    assert fingerprint("net", network, PLAIN, "pooled") != _print()
