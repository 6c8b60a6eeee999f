"""Heads against torch.nn modules, numpy in float64 and finite differences; trained heads as files.

Bits are compared where the design promises bits: a client's numbers do not depend on its company.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.transfer.head_file import TrainedHead, read_head
from fedtl.transfer.heads import (
    CosineHead,
    Head,
    LinearHead,
    MLPHead,
    Tensors,
    build_head,
    one_thread,
)
from fedtl.transfer.standardisation import Standardisation

CLIENTS, BATCH, FEATURES, CLASSES, HIDDEN, SCALE = 3, 6, 5, 4, 7, 8.0
KINDS = ("linear", "mlp", "cosine")


def _head(kind: str, features: int = FEATURES, classes: int = CLASSES) -> Head:
    return build_head(
        kind, features=features, classes=classes, hidden_units=HIDDEN, cosine_scale=SCALE
    )


def _parameters(head: Head, clients: int, dtype: torch.dtype, seed: int = 0) -> Tensors:
    draws = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(clients, *shape, generator=draws, dtype=torch.float64).to(dtype)
        for name, shape in head.shapes.items()
    }


def _batch(
    clients: int,
    dtype: torch.dtype,
    *,
    batch: int = BATCH,
    features: int = FEATURES,
    classes: int = CLASSES,
    seed: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, labels and positive, unequal weights."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(clients, batch, features, generator=draws, dtype=torch.float64).to(dtype)
    y = torch.randint(classes, (clients, batch), generator=draws)
    weight = torch.rand(clients, batch, generator=draws, dtype=torch.float64).to(dtype) + 0.1
    return x, y, weight


class _CosineModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(CLASSES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return SCALE * nn.functional.cosine_similarity(x[:, None], self.weight[None], dim=2)


class _MLPModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.output = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(self.hidden(x).relu())
        return out


_MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(FEATURES, CLASSES),
    "mlp": _MLPModule,
    "cosine": _CosineModule,
}


def _numpy_logits(
    kind: str, p: dict[str, NDArray[np.float64]], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    if kind == "linear":
        return np.asarray(x @ p["weight"].T + p["bias"])
    if kind == "mlp":
        hidden = np.maximum(x @ p["hidden.weight"].T + p["hidden.bias"], 0)
        return np.asarray(hidden @ p["output.weight"].T + p["output.bias"])
    lengths = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(p["weight"], axis=1))
    return np.asarray(SCALE * (x @ p["weight"].T) / lengths)


def _numpy_loss(
    kind: str,
    p: dict[str, NDArray[np.float64]],
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> float:
    logits = _numpy_logits(kind, p, x)
    normaliser = np.log(np.exp(logits).sum(1))
    return float(np.average(normaliser - logits[np.arange(len(y)), y], weights=weight))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_torch_modules(kind: str) -> None:
    head = _head(kind)
    parameters = _parameters(head, CLIENTS, torch.float64)
    x, y, weight = _batch(CLIENTS, torch.float64)
    loss, gradients = head.loss_and_gradients(parameters, x, y, weight)
    logits = head.logits(parameters, x)
    for client in range(CLIENTS):
        module = _MODULES[kind]().double()
        module.load_state_dict({name: value[client] for name, value in parameters.items()})
        expected_logits = module(x[client])
        each = nn.functional.cross_entropy(expected_logits, y[client], reduction="none")
        expected = (each * weight[client]).sum() / weight[client].sum()
        expected.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(logits[client], expected_logits, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(loss[client], expected, rtol=1e-12, atol=1e-12)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(
                gradients[name][client], parameter.grad, rtol=1e-11, atol=1e-12
            )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_finite_differences_of_a_numpy_loss(kind: str) -> None:
    head = _head(kind)
    parameters = _parameters(head, 1, torch.float64, seed=2)
    x, y, weight = _batch(1, torch.float64, seed=3)
    loss, gradients = head.loss_and_gradients(parameters, x, y, weight)
    arrays = {name: value[0].numpy().copy() for name, value in parameters.items()}
    data = x[0].numpy(), y[0].numpy(), weight[0].numpy()
    assert loss.item() == pytest.approx(_numpy_loss(kind, arrays, *data), rel=1e-12)
    step = 1e-6
    for name, array in arrays.items():
        slopes = np.empty_like(array)
        for place in np.ndindex(array.shape):
            value = array[place]
            array[place] = value + step
            above = _numpy_loss(kind, arrays, *data)
            array[place] = value - step
            slopes[place] = (above - _numpy_loss(kind, arrays, *data)) / (2 * step)
            array[place] = value
        np.testing.assert_allclose(gradients[name][0].numpy(), slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_same_in_inference_mode(kind: str) -> None:
    head = _head(kind)
    loss, gradients = head.loss_and_gradients(
        _parameters(head, CLIENTS, torch.float32), *_batch(CLIENTS, torch.float32)
    )
    with torch.inference_mode():
        inputs = _parameters(head, CLIENTS, torch.float32), *_batch(CLIENTS, torch.float32)
        inferred_loss, inferred = head.loss_and_gradients(*inputs)
        assert torch.equal(inferred_loss, loss)
        for name, gradient in gradients.items():
            assert torch.equal(inferred[name].mul_(2), gradient * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_left_as_they_were(kind: str) -> None:
    head = _head(kind)
    parameters = _parameters(head, CLIENTS, torch.float32)
    before = {name: value.clone() for name, value in parameters.items()}
    x, y, weight = _batch(CLIENTS, torch.float32)
    inputs = x.clone(), y.clone(), weight.clone()
    head.loss_and_gradients(parameters, x, y, weight)
    assert all(torch.equal(parameters[name], before[name]) for name in before)
    assert all(map(torch.equal, (x, y, weight), inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_influence(kind: str) -> None:
    head = _head(kind)
    parameters = _parameters(head, CLIENTS, torch.float64)
    x, y, weight = _batch(CLIENTS, torch.float64)
    loss, gradients = head.loss_and_gradients(parameters, x, y, weight)

    def padded(filling: float, label: int) -> tuple[Tensor, Tensors]:
        junk = torch.full((CLIENTS, 2, FEATURES), filling, dtype=torch.float64)
        labels = torch.full((CLIENTS, 2), label)
        nothing = torch.zeros(CLIENTS, 2, dtype=torch.float64)
        return head.loss_and_gradients(
            parameters,
            torch.cat([x, junk], 1),
            torch.cat([y, labels], 1),
            torch.cat([weight, nothing], 1),
        )

    one, other = padded(1.0, 0), padded(-1e6, CLASSES - 1)
    assert torch.equal(one[0], other[0])
    torch.testing.assert_close(one[0], loss, rtol=1e-12, atol=1e-12)
    for name, gradient in gradients.items():
        assert torch.equal(one[1][name], other[1][name])
        torch.testing.assert_close(one[1][name], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_features_has_finite_gradients(kind: str) -> None:
    head = _head(kind)
    parameters = _parameters(head, 1, torch.float32)
    x, y, weight = _batch(1, torch.float32)
    loss, gradients = head.loss_and_gradients(parameters, torch.zeros_like(x), y, weight)
    assert loss.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("clients", [2, 3, 10, 64])
@pytest.mark.parametrize(
    ("batch", "features", "classes"),
    [(1, 512, 10), (3, 1280, 2), (8, 33, 2), (16, 1, 37), (32, 128, 10)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_stacked_clients_get_the_bits_they_get_alone(
    kind: str, batch: int, features: int, classes: int, clients: int
) -> None:
    head = _head(kind, features, classes)
    parameters = _parameters(head, clients, torch.float32)
    x, y, weight = _batch(clients, torch.float32, batch=batch, features=features, classes=classes)
    with one_thread():
        logits = head.logits(parameters, x)
        loss, gradients = head.loss_and_gradients(parameters, x, y, weight)
        for client in range(clients):
            own = slice(client, client + 1)
            lone = {name: value[own] for name, value in parameters.items()}
            assert torch.equal(head.logits(lone, x[own]), logits[own])
            lone_loss, lone_gradients = head.loss_and_gradients(lone, x[own], y[own], weight[own])
            assert torch.equal(lone_loss, loss[own])
            for name, gradient in gradients.items():
                assert torch.equal(lone_gradients[name], gradient[own])


def test_one_thread_gives_the_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_heads_have_the_declared_form(kind: str) -> None:
    head = _head(kind)
    for initial in ("auto", "seeded"):
        arrays = head.initial(initial, 0)
        assert {name: value.shape for name, value in arrays.items()} == dict(head.shapes)
        assert {value.dtype for value in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", KINDS)
def test_seeded_heads_follow_the_rule_of_torch_linear(kind: str) -> None:
    head = build_head(kind, features=200, classes=50, hidden_units=100, cosine_scale=SCALE)
    arrays = head.initial("seeded", 3)
    for name, value in arrays.items():
        if value.ndim == 1:
            assert not value.any()
            continue
        reference = nn.Linear(value.shape[1], value.shape[0]).weight.detach().numpy()
        bound = 1 / math.sqrt(value.shape[1])
        assert np.abs(value).max() <= bound
        assert np.abs(value).max() == pytest.approx(np.abs(reference).max(), rel=0.01)
        assert value.std() == pytest.approx(reference.std(), rel=0.05)
        assert abs(value.mean()) < 0.05 * bound
        np.testing.assert_array_equal(value, head.initial("seeded", 3)[name])
        assert not np.array_equal(value, head.initial("seeded", 4)[name])


def test_the_layers_of_a_seeded_head_are_drawn_apart() -> None:
    arrays = build_head("mlp", features=8, classes=8, hidden_units=8).initial("seeded", 0)
    assert not np.array_equal(arrays["hidden.weight"], arrays["output.weight"])


def test_automatic_initialisation_is_zero_only_where_zero_has_a_gradient() -> None:
    assert not any(value.any() for value in _head("linear").initial("auto", 0).values())
    assert not any(value.any() for value in _head("linear").initial("zero", 0).values())
    for kind in ("mlp", "cosine"):
        automatic, seeded = _head(kind).initial("auto", 5), _head(kind).initial("seeded", 5)
        assert all(np.array_equal(automatic[name], seeded[name]) for name in seeded)


def test_heads_are_built_by_name() -> None:
    assert _head("linear") == LinearHead(FEATURES, CLASSES)
    mlp, cosine = _head("mlp"), _head("cosine")
    assert isinstance(mlp, MLPHead) and mlp.options.hidden_units == HIDDEN
    assert isinstance(cosine, CosineHead) and cosine.options.scale == SCALE
    assert mlp == _head("mlp") != MLPHead(FEATURES, CLASSES)


# --- a trained head as a file ---------------------------------------------------------------------


def _trained(*, standardised: bool = True, dtype: type[np.floating] = np.float32) -> TrainedHead:
    draws = np.random.default_rng(0)
    arrays = {
        "weight": draws.standard_normal((CLASSES, FEATURES)).astype(dtype),
        "bias": draws.standard_normal(CLASSES).astype(dtype),
    }
    standardisation = Standardisation(
        draws.standard_normal(FEATURES).astype(np.float32), np.ones(FEATURES, np.float32)
    )
    return TrainedHead(
        arrays=arrays,
        standardisation=standardisation if standardised else None,
        classes=("ant", "bee", "Käfer", "\U0001f997"),
        fingerprint="ab" * 32,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("standardised", [True, False])
def test_a_head_file_holds_all_of_a_head(
    tmp_path: Path, standardised: bool, dtype: type[np.floating]
) -> None:
    head = _trained(standardised=standardised, dtype=dtype)
    path = tmp_path / "head.safetensors"
    path.write_bytes(head.to_bytes())
    back = read_head(path)
    assert (back.classes, back.fingerprint) == (head.classes, head.fingerprint)
    assert (back.standardisation is not None) == standardised
    assert back.sha256() == head.sha256()
    assert back.tensors().keys() == head.tensors().keys() == load_file(path).keys()
    for name, value in head.tensors().items():
        assert back.tensors()[name].dtype == value.dtype
        np.testing.assert_array_equal(back.tensors()[name], value)
        np.testing.assert_array_equal(load_file(path)[name], value)


def test_the_digest_does_not_depend_on_order_or_memory_layout() -> None:
    head = _trained()
    turned = {name: np.asfortranarray(value) for name, value in reversed(list(head.arrays.items()))}
    assert list(turned) != list(head.arrays)
    assert replace(head, arrays=turned).sha256() == head.sha256()


@pytest.mark.parametrize(
    "name", ["weight", "bias", "standardisation.mean", "standardisation.scale"]
)
def test_the_digest_changes_with_any_one_bit(name: str) -> None:
    head = _trained()
    changed = _trained()
    changed.tensors()[name].view(np.uint32).flat[-1] ^= 1
    assert changed.sha256() != head.sha256()


def test_the_digest_covers_names_dtypes_and_shapes() -> None:
    head = _trained()
    weight, bias = head.arrays["weight"], head.arrays["bias"]
    variants: list[dict[str, NDArray[np.floating]]] = [
        {"weight": weight, "bias": bias},
        {"weights": weight, "bias": bias},
        {"weight": weight.reshape(FEATURES, CLASSES), "bias": bias},
        {"weight": weight.view(np.float16), "bias": bias},
        {"weight": weight},
    ]
    digests = {replace(head, arrays=arrays).sha256() for arrays in variants}
    digests.add(replace(head, standardisation=None).sha256())
    assert len(digests) == len(variants) + 1


@pytest.mark.parametrize("content", [None, b"", b"not a head", b"\xff" * 64])
def test_a_file_that_is_no_head_is_refused_by_its_path(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a trained head") as refusal:
        read_head(path)
    assert str(path) in str(refusal.value)


def test_tensors_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(UsageError, match="is not a trained head of the form fedtl-head-1"):
        read_head(path)
