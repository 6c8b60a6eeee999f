"""Trained blocks at real sites: what a site keeps between messages, and whose weights are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from fedtl.client.policy import RefusedError, SitePolicy
from fedtl.client.site_store import kept_site
from fedtl.config import RunConfig
from fedtl.data.crops import CropRows
from fedtl.preparation.site import Site
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.shared_features import SharedFeatures, Spill

ROWS, BELOW, WIDTH = 9, 5, 3


def test_what_is_below_the_blocks_is_kept_with_the_features(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(ROWS, BELOW + WIDTH)).astype(np.float32)
    spill, prepared = Spill(), []

    def prepare(config: RunConfig, context: Context) -> tuple[Site, SharedFeatures]:
        prepared.append(context)
        shared = spill.share(matrix)
        shared = SharedFeatures(shared.shape, shared.path, boundary_size=BELOW)
        features, below = shared.parts()
        nothing = np.empty(0, np.int64)
        data = ClientData(
            partition_id=0,
            features=features,
            labels=torch.arange(ROWS) % 2,
            train=np.arange(3),
            held_out=np.arange(3, 5),
            test=nothing,
            unseen=nothing,
            classes=2,
            below=below,
            crops=CropRows(np.array([5, 7, -1, -1, -1, -1, -1, -1, -1]), 2, 2),
        )
        return Site(data, ("a", "b"), "0" * 64), shared

    context = Context(0, 0, {"partition-id": 0}, RecordDict(), {})
    for _ in range(2):
        data = kept_site(RunConfig(cache=str(tmp_path)), prepare, context).data
        assert data.below is not None
        assert np.array_equal(data.below.numpy(), matrix[:, :BELOW])
        assert np.array_equal(data.features.numpy(), matrix[:, BELOW:])
        assert data.crops is not None
        assert (data.crops.step, data.crops.views) == (2, 2)
        assert data.crops.first.tolist()[:3] == [5, 7, -1]
    assert len(prepared) == 1


def test_a_site_reads_its_own_weights_whatever_the_run_names() -> None:
    run = {"backbone": "resnet18", "weights": "/server/w.pth", "trainable-blocks": 2}
    node = {"partition-id": 0, "num-partitions": 1, "data": "/pictures"}
    here = SitePolicy.of({**node, "weights": "/mine/w.pth"}).configuration(run)
    assert (here.weights, here.trainable_blocks) == ("/mine/w.pth", 2)
    more = SitePolicy.of({**node, "weights": "w.pth", "cache-limit": 50.0}).configuration(run)
    assert (here.cache_limit, more.cache_limit) == (20.0, 50.0)
    with pytest.raises(RefusedError, match="refuses weights"):
        SitePolicy.of(node).configuration(run)
