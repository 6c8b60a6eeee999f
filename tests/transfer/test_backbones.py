"""Backbones against torchvision's own models and transforms, and every way to get weights wrong."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from fedtl.errors import FedtlError, UsageError
from fedtl.transfer import tiny, torchvision_models
from fedtl.transfer.backbones import Backbone, embedding_fingerprint, load_backbone
from fedtl.transfer.dictionary import CONTRAST_FLOOR
from fedtl.transfer.extraction import extract_features
from fedtl.transfer.preprocessing import Preprocessing

SHARED = Path(__file__).parents[3] / "shared"
# With batch normalisation and a classifier ``fc`` as resnet18 has, and an eighth of its weights.
SMALL = "shufflenet_v2_x0_5"


def _picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _load(name: str, weights: str = "random", image_size: int = 0, seed: int = 0) -> Backbone:
    return load_backbone(name, weights=weights, image_size=image_size, seed=seed)


def _smallest_of_each_family() -> list[str]:
    """Return the smallest of each torchvision module and name up to the first digit."""
    families: dict[tuple[str, str], str] = {}
    for name in torchvision_models.architecture_names():
        stem, *digits = re.split(r"\d", name)
        module = torchvision.models.get_model_builder(name).__module__
        family = (module, stem if digits else "")
        if family not in families or _parameters(name) < _parameters(families[family]):
            families[family] = name
    return sorted(families.values())


def _parameters(name: str) -> int:
    return int(torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"])


@pytest.mark.parametrize("name", _smallest_of_each_family())
def test_every_family_is_cut_to_pooled_features(name: str) -> None:
    entry = torchvision_models.weights_entry(name, "DEFAULT")
    fixed = name.startswith(("vit_", "maxvit"))
    size = entry.transforms().crop_size[0] if fixed else max(64, *entry.meta["min_size"])
    cut = torchvision_models.uninitialised(name, size)
    network = cut.network.eval().to("meta")
    with torch.inference_mode():
        features = network(torch.empty(2, 3, size, size, device="meta"))
    assert features.shape == (2, cut.feature_size)


def test_families_cover_every_torchvision_module() -> None:
    modules = {
        torchvision.models.get_model_builder(name).__module__
        for name in torchvision_models.architecture_names()
    }
    tested = {
        torchvision.models.get_model_builder(name).__module__ for name in _smallest_of_each_family()
    }
    assert tested == modules


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 512),
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_small", 576),
        ("vgg11", 4096),
        ("alexnet", 4096),
        ("squeezenet1_1", 512),
        ("densenet121", 1024),
        ("convnext_tiny", 768),
        ("vit_b_32", 768),
        ("maxvit_t", 512),
        ("googlenet", 1024),
    ],
)
def test_feature_sizes(name: str, size: int) -> None:
    assert torchvision_models.uninitialised(name, 224).feature_size == size


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("resnet18", "fc"), ("mobilenet_v2", "classifier"), ("googlenet", "fc")],
)
def test_features_are_what_torchvisions_classifier_sees(
    name: str, classifier: str, tmp_path: Path
) -> None:
    options = {"transform_input": True, "aux_logits": True} if name == "googlenet" else {}
    model = (
        torchvision.models.get_model(name, init_weights=True, **options)
        if options
        else (torchvision.models.get_model(name))
    )
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = _load(name, str(tmp_path / "weights.pth"), image_size=64)
    batch = torch.stack([backbone.preprocess(_picture(80, 70, seed)) for seed in range(2)])
    with torch.inference_mode():
        expected = model.eval()(batch)
        found = getattr(model, classifier)(backbone.forward(batch))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "inception_v3"])
@pytest.mark.parametrize(("height", "width"), [(300, 401), (401, 300), (33, 50), (232, 232)])
def test_preprocessing_is_torchvisions_evaluation_transform(
    name: str, height: int, width: int
) -> None:
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = _preprocessing(name, 0)
    picture = _picture(height, width)
    assert torch.equal(preprocessing(picture), transform(Image.fromarray(picture)))


def _preprocessing(name: str, image_size: int) -> Preprocessing:
    transform = torchvision_models.weights_entry(name, "DEFAULT").transforms()
    return Preprocessing.of_torchvision(transform, image_size)


def test_image_size_scales_the_resize_with_the_crop() -> None:
    preprocessing = _preprocessing("resnet18", 112)
    assert (preprocessing.image_size, preprocessing.resize) == (112, 128)
    assert preprocessing(_picture(90, 200)).shape == (3, 112, 112)


def test_files_in_any_wrapping_give_the_same_backbone(tmp_path: Path) -> None:
    state = torchvision.models.get_model(SMALL).half().state_dict()
    state = OrderedDict((key, value) for key, value in state.items() if "num_batches" not in key)
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "parallel.pth")
    save_file(state, tmp_path / "same.safetensors")
    backbones = [_load(SMALL, str(path)) for path in sorted(tmp_path.iterdir())]
    assert len({backbone.fingerprint for backbone in backbones}) == 1
    weight = dict(backbones[0].network.named_parameters())["conv1.0.weight"]
    assert torch.equal(weight, state["conv1.0.weight"].float())
    assert not weight.requires_grad


def test_a_classifier_for_other_classes_is_no_obstacle(tmp_path: Path) -> None:
    state = torchvision.models.get_model(SMALL, num_classes=3).state_dict()
    torch.save(state, tmp_path / "three.pth")
    del state["fc.weight"], state["fc.bias"]
    torch.save(state, tmp_path / "none.pth")
    three, none = (_load(SMALL, str(tmp_path / f"{n}.pth")) for n in ("three", "none"))
    assert three.fingerprint == none.fingerprint


def _without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: _without(s, "conv1.1.weight"), ["conv1.1.weight", "(24,)"]),
        (lambda s: s | {"conv1.1.bias": torch.zeros(3)}, ["conv1.1.bias", "(3,)", "(24,)"]),
        (lambda s: s | {"extra.weight": torch.zeros(2, 5)}, ["extra.weight", "(2, 5)"]),
        (lambda s: [1, 2], ["no state dict"]),
        (lambda s: {}, ["no state dict"]),
        (lambda s: torch.nn.Linear(2, 2), ["without running"]),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_key(
    change: Any, expected: list[str], tmp_path: Path
) -> None:
    torch.save(change(dict(torchvision.models.get_model(SMALL).state_dict())), tmp_path / "w.pth")
    with pytest.raises(UsageError) as refusal:
        _load(SMALL, str(tmp_path / "w.pth"))
    for part in [*expected, "w.pth"]:
        assert part in str(refusal.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_something_else_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"not weights at all" * 10)
    for name in ("resnet18", "fedtl-tiny"):
        with pytest.raises(UsageError, match=path.name):
            _load(name, str(path))


@pytest.mark.parametrize(
    ("name", "weights", "size", "expected"),
    [
        ("resnet81", "random", 0, "did you mean resnet18"),
        ("fedtltiny", "random", 0, "did you mean fedtl-tiny"),
        ("resnet18", "IMAGENET1K_V3", 0, "did you mean IMAGENET1K_V1"),
        ("resnet18", "/nowhere/a.pth", 0, "/nowhere/a.pth does not exist"),
        ("fedtl-tiny", "IMAGENET1K_V1", 0, "should be DEFAULT"),
        ("fedtl-tiny", "random", 4, "at least 8 pixels"),
        ("inception_v3", "random", 64, "at least 75 pixels"),
        ("vit_b_32", "random", 100, "native size is 224"),
        ("maxvit_t", "random", 100, "native size is 224"),
    ],
)
def test_impossible_requests_are_told_in_a_sentence(
    name: str, weights: str, size: int, expected: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        _load(name, weights, size)
    assert expected in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_tiny_refuses_another_networks_weights(tmp_path: Path) -> None:
    shipped = load_file(tiny.SHIPPED_WEIGHTS)
    save_file(
        {**shipped, "dictionary.filters": torch.zeros(4, 3, 5, 6)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(UsageError, match=r"shape \(4, 3, 5, 6\), and should have \(128, 3, 6, 6\)"):
        _load("fedtl-tiny", str(tmp_path / "w.safetensors"))
    del shipped["dictionary.thresholds"]
    save_file(shipped, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"has no dictionary\.thresholds"):
        _load("fedtl-tiny", str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("name", ["fedtl-tiny", SMALL])
def test_random_weights_come_from_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = _load(name, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert _load(name, seed=5).fingerprint == first.fingerprint
    assert _load(name, seed=6).fingerprint != first.fingerprint


def test_fingerprint_covers_weights_name_and_preprocessing(tmp_path: Path) -> None:
    state = torchvision.models.get_model(SMALL).state_dict()
    torch.save(state, tmp_path / "a.pth")
    state["conv5.1.running_mean"][7] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    torch.save(state, tmp_path / "b.pth")
    prints = [
        _load(SMALL, str(tmp_path / "a.pth")).fingerprint,
        _load(SMALL, str(tmp_path / "b.pth")).fingerprint,
        _load(SMALL, str(tmp_path / "a.pth"), image_size=96).fingerprint,
        embedding_fingerprint(512),
        embedding_fingerprint(513),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(each) == 64 and int(each, 16) >= 0 for each in prints)


def test_a_failed_download_names_the_url_and_the_alternatives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(FedtlError) as failure:
        _load("resnet18", "DEFAULT")
    for part in ("resnet18-f37072fd.pth", "no route to host", "--weights FILE", "random"):
        assert part in str(failure.value)


def test_weights_published_under_older_names_are_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = torchvision.models.densenet121().state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
           for key, value in state.items()}  # fmt: skip
    assert old.keys() != state.keys()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: OrderedDict(old)
    )
    loaded = _load("densenet121", "IMAGENET1K_V1").network.state_dict()
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(loaded[key], state[key])


def test_tiny_computes_what_its_definition_says() -> None:
    backbone = _load("fedtl-tiny", "DEFAULT")
    pixels = backbone.preprocess(_picture(40, 60)).double()
    expected = np.concatenate([_dictionary(pixels.numpy()), _stage_means(pixels)])
    found = backbone.forward(backbone.preprocess(_picture(40, 60))[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def _shipped() -> dict[str, torch.Tensor]:
    return {key: tensor.double() for key, tensor in load_file(tiny.SHIPPED_WEIGHTS).items()}


def _dictionary(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    filters = _shipped()["dictionary.filters"].numpy()
    patch, last = tiny.PATCH, tiny.IMAGE_SIZE - tiny.PATCH + 1
    # Every second row of patches.
    lines = range(0, last, 2)
    response = np.zeros((len(lines), last, len(filters)))
    for line, y in enumerate(lines):
        for x in range(last):
            window = pixels[:, y : y + patch, x : x + patch]
            normal = (window - window.mean()) / np.sqrt(window.var() + CONTRAST_FLOOR)
            response[line, x] = (filters * normal).sum((1, 2, 3))
    response = np.maximum(0, response - _shipped()["dictionary.thresholds"].numpy())
    # Adaptive pooling gives an odd middle row or column to both sides.
    down, across = (
        [slice(0, (count + 1) // 2), slice(count // 2, count)] for count in response.shape[:2]
    )
    quadrants = [response[y, x].mean((0, 1)) for y in down for x in across]
    return np.sqrt(np.stack(quadrants, 1)).reshape(-1)


def _stage_means(pixels: torch.Tensor) -> NDArray[np.float64]:
    shipped, planes, means = _shipped(), (pixels[None] - 0.5) / 0.25, []
    for stage in range(4):

        def convolved(name: str, planes: torch.Tensor, stride: int) -> torch.Tensor:
            key = f"network.stages.{stage}.{name}.conv"  # noqa: B023 - called in this turn alone
            weight = shipped[f"{key}.weight"]
            padding = weight.shape[-1] // 2
            return torch.conv2d(planes, weight, shipped[f"{key}.bias"], stride, padding)

        entered = convolved("entry", planes, 2).relu()
        planes = (entered + convolved("second", convolved("first", entered, 1).relu(), 1)).relu()
        means.append(planes.mean((0, 2, 3)))
    return torch.cat(means).sqrt().numpy()


class _AntsAndBees:
    def __init__(self) -> None:
        self._zip = zipfile.ZipFile(SHARED / "data" / "ants_bees.zip")
        names = [name for name in self._zip.namelist() if name.endswith(".jpg")]
        # A third of them tells, and takes a third of the time.
        self.names = sorted(names)[::3]
        self._files = [self._zip.read(name) for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(self._files[index]).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self._files[index])).convert("RGB"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared pictures and weights")
def test_real_weights_tell_ants_from_bees() -> None:
    images = _AntsAndBees()
    file = SHARED / "weights" / "mobilenet_v2_imagenet_fp16.pth"
    x = extract_features(
        images,
        _load("mobilenet_v2", str(file)),
        cache=None,
        precision="float32",
        device="cpu",
        on_progress=None,
    ).array.astype(np.float64)
    train = np.array([name.startswith("train/") for name in images.names])
    sign = np.array([1.0 if "/bees/" in name else -1.0 for name in images.names])
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    kernel = x[train] @ x[train].T
    dual = np.linalg.solve(kernel + 0.1 * np.trace(kernel) / len(kernel) * np.eye(len(kernel)),
                           sign[train])  # fmt: skip
    accuracy = (np.sign(x[~train] @ x[train].T @ dual) == sign[~train]).mean()
    assert accuracy >= 0.93, accuracy
