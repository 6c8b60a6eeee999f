"""A run names no folder and no network to fetch at a site; a site may name its own."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict

from fedtl import flower_app
from fedtl.client.node_config import NodeConfigError
from fedtl.client.policy import RefusedError, SitePolicy
from fedtl.engine.flower_internals import assume_server_identity

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


@pytest.mark.parametrize(
    "run", [{"trust-remote-code": True}, {"set": "trust-remote-code=true backbone-own=1"}]
)
def test_no_run_lets_a_networks_own_python_run(run: dict[str, Any]) -> None:
    said = "trust-remote-code: whether Python that a network brings runs, a site says itself"
    for node in (
        {},
        {"backbone": "hf:/models/own"},
        {"allow": "module:Class, downloads, backbone"},
    ):
        if "set" in run and "allow" not in node:
            continue
        with pytest.raises(RefusedError, match=said):
            _config({"backbone": "wordllama", **run}, **node)
    with pytest.raises(NodeConfigError, match="allow names 'trust-remote-code'"):
        _config(run, allow="trust-remote-code")


def test_a_site_lets_the_python_of_its_own_network_run_whatever_the_run_says() -> None:
    own = {"backbone": "hf:/models/own", "set": "trust-remote-code=true"}
    for run in ({}, {"trust-remote-code": True, "backbone": "hf:/etc"}):
        found = _config(run, **own)
        assert found.option("trust-remote-code") is True
        assert found.backbone == "hf:/models/own"
    # Without a network of its own it would say so for the server's.
    with pytest.raises(NodeConfigError, match="no network whose Python"):
        _config({}, set="trust-remote-code=true")
    with pytest.raises(RefusedError, match="a site says itself"):
        _config({"trust-remote-code": True}, **{**own, "set": "trust-remote-code=false"})
    with pytest.raises(RefusedError, match="a site says itself"):
        _config({"trust-remote-code": True}, set="trust-remote-code=true")
    with pytest.raises(NodeConfigError, match="'yes' must be of type bool"):
        _config({"trust-remote-code": True}, **{**own, "set": "trust-remote-code=yes"})


def test_a_machine_for_trials_says_so_itself_as_well() -> None:
    node = {"partition-id": 0, "num-partitions": 2, "simulated": True}
    assume_server_identity()
    asked = Message(RecordDict(), dst_node_id=1, message_type="query.x")
    for run in ({"trust-remote-code": True}, {"set": "trust-remote-code=true"}):
        context = Context(1, 1, node, RecordDict(), {"backbone": "hf:/etc", **run})
        assert "trust-remote-code is refused here" in flower_app.reply(asked, context).error.reason
