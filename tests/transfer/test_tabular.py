"""The backbone of tables' rows: what it computes, what it is by, and where it is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.rows import Row, Rows
from fedtl.data.schema import CategoryColumn, NumericColumn, Schema
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.transfer.backbones import Backbone, backbone_of
from fedtl.transfer.head_file import TrainedHead, read_head
from fedtl.transfer.inference import Extractor

SCHEMA = Schema(
    (
        NumericColumn("age", 55.0, 20.0),
        CategoryColumn("cp", ("1", "2", "3"), gaps=True),
        NumericColumn("crp", 3.5, 0.9, gaps=True),
    )
)
RNG = np.random.default_rng(5)
COLUMNS = {
    "age": [str(one) for one in RNG.integers(20, 90, 203)],
    "cp": [None if one == 3 else str(one + 1) for one in RNG.integers(0, 4, 203)],
    "crp": [None if one < 2 else f"{one:.2f}" for one in RNG.uniform(1, 5, 203)],
}


def _backbone(schema: Schema = SCHEMA, *, seed: int = 0, features: int = 0) -> Backbone:
    options = (("random-features", features),) if features else ()
    return backbone_of(RunConfig(backbone="tabular", seed=seed, options=options), schema)


def _features(backbone: Backbone, rows: Rows) -> NDArray[np.float32]:
    extractor = Extractor(rows, backbone, precision="float32", device="cpu", workers=1)
    found = np.full((len(rows), backbone.feature_size), np.nan, np.float32)
    slots = np.arange(len(rows))
    for batch in extractor.run(slots, slots):
        found[batch.slots] = batch.features
    return found


def test_features_are_those_of_scikit_learn() -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    table = pd.DataFrame(COLUMNS)
    table["age"], table["crp"] = table["age"].astype(float), table["crp"].astype(float)

    def standardised(centre: float, scale: float) -> FunctionTransformer:
        return FunctionTransformer(lambda x: (x - centre) / scale)

    filled = SimpleImputer(strategy="constant", fill_value=3.5, add_indicator=True)
    of_crp = make_pipeline(filled, FunctionTransformer(lambda x: (x - [3.5, 0]) / [0.9, 1]))
    theirs = ColumnTransformer(
        [
            ("age", standardised(55, 20), ["age"]),
            (
                "cp",
                OneHotEncoder(categories=[["1", "2", "3", np.nan]], sparse_output=False),
                ["cp"],
            ),
            ("crp", of_crp, ["crp"]),
        ]
    )
    found = _features(_backbone(), Rows(COLUMNS))
    np.testing.assert_allclose(found, theirs.fit_transform(table), rtol=1e-6, atol=1e-6)


def test_random_features_are_relu_of_random_sums_beside_the_plain_ones() -> None:
    backbone, rows = _backbone(features=512), Rows(COLUMNS)
    plain, found = _features(_backbone(), rows), _features(backbone, rows)
    assert backbone.feature_size == SCHEMA.width + 512
    np.testing.assert_array_equal(found[:, : SCHEMA.width], plain)
    tensors = dict(backbone.network.named_buffers())
    weight, bias = (np.asarray(tensors[name], np.float64) for name in ("weight", "bias"))
    sums = plain.astype(np.float64) @ weight.T + bias
    np.testing.assert_allclose(found[:, SCHEMA.width :], np.maximum(sums, 0), rtol=1e-4, atol=1e-5)
    # Of rows like those that the schema is of, a sum has a variance of about 1.
    assert 0.5 < sums.var() < 1.5
    assert abs(weight.mean()) < 0.05


def test_random_features_follow_from_the_seed_alone() -> None:
    one, again = _backbone(features=64), _backbone(features=64)
    assert one.fingerprint == again.fingerprint
    other = _backbone(features=64, seed=1)
    assert other.fingerprint != one.fingerprint
    assert not torch.equal(other.network.weight, one.network.weight)  # type: ignore[arg-type]
    # Without any, no seed counts.
    assert _backbone(seed=1).fingerprint == _backbone(seed=2).fingerprint


def test_the_schema_is_in_the_fingerprint() -> None:
    age, cp, crp = SCHEMA.columns
    others = [
        Schema((age, crp, cp)),
        Schema((NumericColumn("age", 56.0, 20.0), cp, crp)),
        Schema((NumericColumn("age", 55.0, 21.0), cp, crp)),
        Schema((NumericColumn("Age", 55.0, 20.0), cp, crp)),
        Schema((NumericColumn("age", 55.0, 20.0, gaps=True), cp, crp)),
        Schema((age, CategoryColumn("cp", ("1", "3", "2"), gaps=True), crp)),
    ]
    prints = {_backbone(one).fingerprint for one in (SCHEMA, *others)}
    assert len(prints) == 1 + len(others)


def test_a_row_without_any_value_of_the_schema_is_unreadable() -> None:
    backbone = _backbone()
    with pytest.raises(UnreadableImageError, match="without any value"):
        backbone.preprocessing.prepare(Row({"age": None, "other": "3"}))


def test_a_row_does_not_depend_on_its_place_in_the_batch() -> None:
    """Bit for bit, at every place, for widths that no kernel's block divides."""
    for width, count in ((1, 7), (7, 513), (61, 2000)):
        columns = tuple(NumericColumn(f"c{k}", 0.0, 1.0) for k in range(width))
        backbone = _backbone(Schema(columns), features=count)
        size = backbone.preprocessing.batch_size(0, on_cores=True)
        row = RNG.normal(size=width).astype(np.float32)
        found = []
        for place in range(size):
            batch = RNG.normal(size=(size, width)).astype(np.float32)
            batch[place] = row
            found.append(backbone.forward(torch.from_numpy(batch))[place].numpy())
        assert len({one.tobytes() for one in found}) == 1


def test_a_head_remembers_the_schema(tmp_path: object) -> None:
    from pathlib import Path

    arrays = {"weight": np.ones((2, 3), np.float32)}
    head = TrainedHead(arrays, None, ("a", "b"), "0" * 64, schema=SCHEMA)
    path = Path(str(tmp_path)) / "head.safetensors"
    path.write_bytes(head.to_bytes())
    assert read_head(path).schema == SCHEMA
    path.write_bytes(TrainedHead(arrays, None, ("a", "b"), "0" * 64).to_bytes())
    assert read_head(path).schema is None


def test_what_it_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes rows of a table.*--text-column none"):
        backbone_of(RunConfig(backbone="tabular"))
    with pytest.raises(UsageError, match="has no weights"):
        backbone_of(RunConfig(backbone="tabular", weights="random"), SCHEMA)


def test_with_random_features_a_linear_head_tells_what_is_not_linear() -> None:
    from sklearn.linear_model import RidgeClassifier

    numbers = RNG.normal(size=(600, 3))
    product = numbers[:, 0] * numbers[:, 1] > 0
    rows = Rows({name: [f"{one:.3f}" for one in numbers[:, at]] for at, name in enumerate("abc")})
    schema = Schema(tuple(NumericColumn(name, 0.0, 1.0) for name in "abc"))
    right = {}
    for count in (0, 500):
        x = _features(_backbone(schema, features=count), rows)
        head = RidgeClassifier(alpha=50).fit(x[:400], product[:400])
        right[count] = head.score(x[400:], product[400:])
    assert right[0] < 0.6
    assert right[500] > 0.9
