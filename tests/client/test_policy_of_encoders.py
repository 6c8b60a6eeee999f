"""A run names no folder and no network to fetch at a site; a site may name its own."""

from __future__ import annotations

from typing import Any

import pytest

from fedtl.client.policy import RefusedError, SitePolicy

OWN = {"partition-id": 0, "num-partitions": 2, "data": "features:x.npz"}


def _config(run: dict[str, Any], **node: Any) -> Any:
    return SitePolicy.of({**OWN, **node}).configuration(run)


@pytest.mark.parametrize("value", ["hf:/etc", "hf:a/name", "hf:x#pool=mean"])
def test_a_run_names_no_network_by_its_place(value: str) -> None:
    with pytest.raises(RefusedError, match=r"refuses backbone = 'hf:.*a site says itself"):
        _config({"backbone": value})


def test_a_site_names_its_own_whatever_the_run_says() -> None:
    for asked in ("hf:/etc", "resnet18", "fedtl-tiny"):
        assert (
            _config({"backbone": asked}, backbone="hf:/models/bert").backbone == "hf:/models/bert"
        )


def test_a_run_fetches_nothing_at_a_site_unless_the_site_allows_it() -> None:
    run = {"backbone": "wordllama", "download": True}
    with pytest.raises(RefusedError, match=r"refuses download .*allow = 'downloads'"):
        _config(run)
    assert _config(run, allow="downloads").option("download") is True


@pytest.mark.parametrize("value", ["wordllama", "log-mel", "fedtl-tiny"])
def test_encoders_that_are_installed_need_no_download(value: str) -> None:
    assert _config({"backbone": value}, data="/scans").backbone == value


def test_what_torchvision_would_download_is_refused_as_before() -> None:
    with pytest.raises(RefusedError, match="weights would be downloaded"):
        _config({"backbone": "resnet18"}, data="/scans")
