"""Rows of a table at a real site: its own schema file, and the same numbers as anywhere."""

from __future__ import annotations

import csv
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedtl.client.node_config import NodeConfigError
from fedtl.client.own_site import prepare_own
from fedtl.client.policy import RefusedError, SitePolicy, configuration_here
from fedtl.client.site_store import kept_site
from fedtl.config import RunConfig
from fedtl.data.rows import column_counts
from fedtl.data.schema_file import write_schema
from fedtl.data.sources import open_dataset
from fedtl.data.table_sums import kinds_of, sums_of
from fedtl.errors import UsageError
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data

RUN = {"backbone": "tabular", "random-features": 20}
OWN = {"partition-id": 0, "num-partitions": 2}


def _table(path: Path, rows: range) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "pain", "label"])
        for row in rows:
            writer.writerow([30 + row * 7 % 41, ["dull", "sharp", ""][row % 3], "xy"[row % 2]])
    return path


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    """Two sites' tables, and beside them ``both.csv`` and the schema that they agreed on."""
    parts = [range(60), range(60, 100)]
    paths = [_table(tmp_path / f"{k}.csv", rows) for k, rows in enumerate(parts)]
    _table(tmp_path / "both.csv", range(100))
    sums = []
    for path in paths:
        dataset = open_dataset(RunConfig(data=str(path)))
        counts = column_counts(dataset.inputs, range(len(dataset)))
        sums.append(sums_of(counts, kinds_of(counts)))
    write_schema(tmp_path / "agreed.toml", reduce(add, sums).schema())
    return paths


def _context(data: Path, **node: Any) -> Context:
    config = {**OWN, "data": str(data), "cache": str(data.parent / "cache"), **node}
    run = RunConfig(clients=2, backbone="tabular", options=(("random-features", 20),))
    return Context(1, 3, config, RecordDict(), run.to_mapping())


def test_each_site_alone_sees_what_a_simulation_sees(sites: list[Path], tmp_path: Path) -> None:
    options = (("random-features", 20),)
    together = RunConfig(
        data=str(tmp_path / "both.csv"), backbone="tabular", options=options, no_cache=True,
        test_fraction=0.0,
    )  # fmt: skip
    every = prepare_inputs(together, open_data(together), None)
    tensor = every.features.tensor()
    for path, rows in zip(sites, (slice(0, 60), slice(60, 100)), strict=True):
        context = _context(path, set=f"table-schema={tmp_path / 'agreed.toml'}")
        site = kept_site(configuration_here(context), prepare_own, context)
        assert site.backbone_fingerprint == every.fingerprint
        assert every.schema is not None
        assert site.table_schema == every.schema.digest()
        assert site.data.features.equal(tensor[rows])


def test_a_site_without_a_schema_is_told_what_to_do(sites: list[Path]) -> None:
    context = _context(sites[0])
    said = r"--write-schema FILE\), python -m fedtl\.agree adds them.*set = 'table-schema=FILE'"
    with pytest.raises(UsageError, match=said):
        kept_site(configuration_here(context), prepare_own, context)


def test_another_schema_is_another_backbone(sites: list[Path], tmp_path: Path) -> None:
    prints = []
    for centre in ("", "1"):
        file = tmp_path / f"agreed{centre}.toml"
        file.write_text(
            (tmp_path / "agreed.toml").read_text().replace("centre = ", f"centre = {centre}")
        )
        context = _context(sites[0], set=f"table-schema={file}")
        prints.append(kept_site(configuration_here(context), prepare_own, context))
    assert prints[0].backbone_fingerprint != prints[1].backbone_fingerprint
    assert prints[0].table_schema != prints[1].table_schema


def test_a_run_names_no_file_of_a_sites_table() -> None:
    def configuration(run: dict[str, Any], **node: Any) -> RunConfig:
        return SitePolicy.of({**OWN, "data": "own.csv", **node}).configuration({**RUN, **run})

    for key in ("table-schema", "category-columns", "ignored-columns"):
        with pytest.raises(RefusedError, match=f"refuses {key}.*the site itself decides"):
            configuration({key: "/etc/passwd"})
    own = configuration({}, set="table-schema=agreed.toml ignored-columns=id,name")
    assert own.option("table-schema") == "agreed.toml"
    assert own.option("random-features") == 20
    with pytest.raises(RefusedError, match="random-features above 5000"):
        configuration({"random-features": 6000})
    # How many random functions there are is the run's, as all sites need the same.
    with pytest.raises(NodeConfigError, match="random-features, which is no option of data"):
        configuration({}, set="random-features=30")


def test_unreadable_rows_of_a_site_are_in_its_log(
    sites: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = sites[0].read_text().splitlines()
    sites[0].write_text("\n".join([*text, ",NA,x", "44,odd,y"]))
    context = _context(sites[0], set=f"table-schema={tmp_path / 'agreed.toml'}")
    site = kept_site(configuration_here(context), prepare_own, context)
    assert len(site.data.train) + len(site.data.held_out) == 61
    assert np.isfinite(site.data.features.numpy()).all()
    assert any(
        said.startswith("1 row could not be read and is left out") for said in caplog.messages
    )
    assert any("a row without any value" in said for said in caplog.messages)
    assert any("categories that the schema does not know" in said for said in caplog.messages)
