"""What a site with data of its own lets a run's configuration decide, and what it refuses."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedtl import flower_app
from fedtl.client import own_data
from fedtl.client.node_config import NodeConfigError
from fedtl.client.own_data import is_simulated
from fedtl.client.policy import RefusedError, SitePolicy
from fedtl.client.private_files import OpenFilesError, close_to_others
from fedtl.client.run_keys import FOLLOWED, IMPOSSIBLE, SERVERS_OWN
from fedtl.client.site_store import read_site
from fedtl.config import RunConfig
from fedtl.config_key import Scalar
from fedtl.config_keys.every import rules
from fedtl.engine.flower_internals import assume_server_identity
from fedtl.known_options import shipped_options
from fedtl.messages import phases
from fedtl.messages.failure_codes import REFUSED

FEWEST = "min-examples-per-class"
DEFAULTS = RunConfig().to_mapping()
SITE = {"partition-id": 0, "num-partitions": 3, "data": "own"}

_TEXTS = {
    "strategy": "fed3r",
    "init": "fedcgs",
    "grey-range": "0 9",
    "window": "40 400",
    "class-names": "ill, well",
    "partition": "iid",
    "attack": "noise",
}


def _other(key: str) -> Scalar:
    """Return a value that is not the default, of its type and within its range."""
    default = DEFAULTS[key]
    rule = rules()[key] if key in rules() else shipped_options()[key].option.rule
    if isinstance(default, bool):
        return not default
    if rule.choices:
        return next(choice for choice in rule.choices if choice != default)
    if isinstance(default, str):
        return _TEXTS.get(key, "other")
    if isinstance(default, int):
        return default + 1
    return default * 0.9 if default else 0.1


def _refusal(run: Mapping[str, Any], node: Mapping[str, Any] = SITE) -> str:
    with pytest.raises(RefusedError) as caught:
        SitePolicy.of(node).configuration({**DEFAULTS, **run})
    return str(caught.value)


def test_the_whole_block_of_defaults_is_followed() -> None:
    found = SitePolicy.of(SITE).configuration(DEFAULTS)
    assert found.data == SITE["data"]
    assert found == RunConfig(data=found.data, min_examples_per_class=5).settled()


@pytest.mark.parametrize("key", sorted(DEFAULTS.keys() - FOLLOWED.keys() - SERVERS_OWN))
def test_a_key_that_is_not_on_the_list_is_refused_by_name(key: str) -> None:
    said = _refusal({key: _other(key)})
    assert re.match(f"This site refuses {key}[:( ]", said)
    if key not in IMPOSSIBLE:
        node = {**SITE, "allow": key}
        followed = SitePolicy.of(node).configuration({**DEFAULTS, key: _other(key)})
        own = node.get(key, _other(key))
        assert followed.to_mapping()[key] == own


def test_a_site_sets_the_options_of_its_own_source() -> None:
    node = {**SITE, "data": "hospitals", "set": "hospitals-size=32"}
    here = SitePolicy.of(node).configuration({**DEFAULTS, "strategy": "fedprox", "fedprox-mu": 0.3})
    assert here.to_mapping()["hospitals-size"] == 32
    assert here.to_mapping()["fedprox-mu"] == 0.3


def test_what_one_word_allows_is_that_and_nothing_else() -> None:
    node = {**SITE, "allow": "engine"}
    assert _refusal({"engine": "inline", "min-per-class": 3}, node).startswith(
        "This site refuses min-per-class"
    )
    assert SitePolicy.of(node).configuration({**DEFAULTS, "engine": "inline"}).engine == "inline"


def test_no_site_has_a_scenario_whatever_its_node_config_says() -> None:
    scenario = {"attack": "noise", "attackers": 0.5, "attack-strength": 2.0}
    scenario |= {"dropout": 0.5, "straggle": 0.5}
    options = shipped_options()
    assert scenario.keys() == {
        key for key in (*rules(), *options) if re.match("attack|dropout|straggle", key)
    }
    for key, value in scenario.items():
        assert _refusal({key: value}) == (
            f"This site refuses {key}: who drops out, is slow or hostile is for simulations; "
            "a site has no such layer."
        )
        with pytest.raises(NodeConfigError, match=f"allow names '{key}'"):
            SitePolicy.of({**SITE, "allow": key})


def test_what_reads_writes_or_harms_is_not_on_the_list() -> None:
    dangerous = {"data", "weights", "cache", "no-cache", "partition", "labels", "attack", "dropout"}
    dangerous |= {"straggle", "holdout-site", "ray-address", "group-from", "layout"}
    assert not dangerous & (FOLLOWED.keys() | SERVERS_OWN)


@pytest.mark.parametrize("key", sorted(FOLLOWED.keys() - {"backbone", FEWEST}))
def test_a_key_on_the_list_is_followed(key: str) -> None:
    run = {**DEFAULTS, key: _other(key)}
    if key in ("head", "head-init"):
        run |= {"head": "mlp", "head-init": "seeded"}
    assert SitePolicy.of(SITE).configuration(run).to_mapping()[key] == run[key]


@pytest.mark.parametrize(
    ("run", "own", "found"),
    [(0, None, 5), (1, None, 5), (9, None, 9), (1, 3, 3), (0, 1, 1), (7, 3, 7)],
)
def test_a_run_may_ask_for_more_examples_of_a_class_and_not_for_fewer(
    run: int, own: int | None, found: int
) -> None:
    node = SITE if own is None else {**SITE, FEWEST: own}
    here = SitePolicy.of(node).configuration({**DEFAULTS, FEWEST: run})
    assert here.min_examples_per_class == found


@pytest.mark.parametrize("key", sorted(SERVERS_OWN))
def test_what_the_server_alone_reads_does_not_reach_the_site(key: str) -> None:
    found = SitePolicy.of(SITE).configuration({**DEFAULTS, key: _other(key)})
    assert found.to_mapping()[key] == DEFAULTS[key]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"strategy": "evil:Class"}, "strategy = module:Class"),
        ({"strategy": "../evil"}, "strategy: it names no strategy of the package"),
        ({"strategy": "base"}, "strategy: it names no strategy"),
        ({"strategy": "base.strategy"}, "strategy: it names no strategy"),
        ({"strategy": 7}, "strategy: it names no strategy"),
        ({"init": "evil:Class"}, "init = module:Class"),
        ({"local-epochs": 101}, "local-epochs above 100: that is the most by most-epochs"),
        ({"personalise": 101}, "personalise above 100"),
        ({"rounds": 10_001}, "rounds above 10000"),
        ({"hidden-units": 65_536}, "hidden-units above 8192"),
        ({"image-size": 4096}, "image-size above 1024"),
        ({"feddyn-steps": 100_000}, "feddyn-steps above 1000"),
        (
            {"backbone": "resnet18"},
            "backbone = 'resnet18' (its node config may allow it: allow = 'downloads')",
        ),
        ({"no-cache": 1}, "no-cache"),
        ({"exec": "rm -rf"}, "'exec': its fedtl has no such key"),
        ({"x" * 10_000: 1}, f"'{'x' * 39}…: its fedtl"),
        (
            {"data": "/etc", "layout": "files", "attack": "noise"},
            "attack, data, layout (its node config may allow it: allow = 'data, layout'): who",
        ),
    ],
)
def test_values_are_bounded_and_nothing_is_imported_or_fetched(
    run: Mapping[str, Any], said: str
) -> None:
    assert f"This site refuses {said}" in _refusal(run)


@pytest.mark.parametrize(
    "run",
    [{"rounds": "9" * 10_000}, {"momentum": float("nan")}, {"seed": True}, {"precision": "int"}],
)
def test_values_that_no_run_takes_are_refused_too(run: Mapping[str, Any]) -> None:
    assert _refusal(run).startswith("This site cannot follow the run: ")


def test_each_key_that_is_refused_is_named() -> None:
    said = _refusal({"data": "/etc", "weights": "/x.pth", "strategy": "a:B", "window": "1 2"})
    assert said.startswith(
        "This site refuses data, strategy = module:Class, weights (its node config"
    )


@pytest.mark.parametrize(
    ("node", "run"),
    [
        ({"allow": "module:Class"}, {"strategy": "own:Class"}),
        ({"allow": "downloads"}, {"backbone": "resnet18"}),
        ({"weights": "w.pth"}, {"backbone": "resnet18"}),
        ({"most-epochs": 500}, {"local-epochs": 400}),
        ({"allow": "engine, min-per-class"}, {"engine": "inline", "min-per-class": 2}),
    ],
)
def test_a_site_may_allow_what_others_refuse(
    node: Mapping[str, Any], run: Mapping[str, Any]
) -> None:
    _refusal(run)
    found = SitePolicy.of({**SITE, **node}).configuration({**DEFAULTS, **run})
    assert {key: getattr(found, key.replace("-", "_")) for key in run} == run


def test_epochs_that_a_run_leaves_to_its_defaults_are_bounded_too() -> None:
    site = SitePolicy.of({**SITE, "most-epochs": 3, "weights": "w.pth"})
    assert site.configuration(DEFAULTS).epochs == 1
    blocks = {**DEFAULTS, "backbone": "resnet18", "trainable-blocks": 1}
    with pytest.raises(RefusedError, match="local-epochs above 3: that is the most by most-epochs"):
        site.configuration(blocks)
    few = site.configuration({**blocks, "local-epochs": 2})
    assert (few.epochs, few.rounds, site.configuration(DEFAULTS).rounds) == (2, 10, 50)


def test_options_for_strategies_that_are_not_installed_go_with_them() -> None:
    run = {**DEFAULTS, "set": "fedprox-mu=0.3", "strategy": "fedprox"}
    with pytest.raises(RefusedError, match="This site refuses set "):
        SitePolicy.of(SITE).configuration(run)
    allowed = SitePolicy.of({**SITE, "allow": "module:Class"}).configuration(run)
    assert allowed.option("fedprox-mu") == 0.3


def test_what_a_site_sets_goes_before_what_it_allows() -> None:
    node = {**SITE, "allow": "data weights cache", "weights": "mine.pth", "cache": "mine"}
    run = {"data": "/etc", "weights": "/etc/x.pth", "cache": "/etc"}
    found = SitePolicy.of(node).configuration({**DEFAULTS, **run})
    assert (found.data, found.weights, found.cache) == (SITE["data"], "mine.pth", "mine")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"alow": "engine"}, "Unknown key 'alow'.*did you mean 'allow'"),
        ({"allow": "engines"}, "allow names 'engines'.*did you mean 'engine'"),
        ({"allow": "holdout-site"}, "allow names 'holdout-site'"),
        ({"allow": True}, "allow names 'True'"),
        ({"most-epochs": 0}, "most-epochs = 0 .* is not a number above 0"),
        ({"most-seconds": "long"}, "most-seconds = 'long'"),
        ({"most-megabytes": float("inf")}, "most-megabytes = inf"),
        ({"min-per-class": "two"}, "min-per-class = 'two' .* must be of type int"),
        ({"set": "hospitals-size"}, "set in this site's node config"),
        ({"data": "hospitals", "set": "fedprox-mu=1"}, "fedprox-mu, which is no option of data = "),
        ({"set": "hospitals-size=32"}, "which is no option of data = "),
    ],
)
def test_a_node_config_that_is_wrong_is_said_to_be(node: Mapping[str, Any], said: str) -> None:
    with pytest.raises(NodeConfigError, match=said):
        SitePolicy.of({**SITE, **node}).configuration(DEFAULTS)


def test_a_server_cannot_make_a_real_site_a_simulated_one(monkeypatch: pytest.MonkeyPatch) -> None:
    simulations = {"partition-id": 0, "num-partitions": 3}
    for ray in (False, True):
        monkeypatch.setattr(own_data, "_in_ray", lambda ray=ray: ray)
        assert not is_simulated(SITE)
        assert is_simulated({**simulations, "simulated": True})
        with pytest.raises(NodeConfigError, match="names no data"):
            is_simulated({**simulations, "cache": "own"})
        with pytest.raises(NodeConfigError, match="leave one of them out"):
            is_simulated({**SITE, "simulated": True})
        with pytest.raises(NodeConfigError, match="neither true nor false"):
            is_simulated({**simulations, "simulated": "yes"})
    assert is_simulated(simulations)
    monkeypatch.setattr(own_data, "_in_ray", lambda: False)
    with pytest.raises(NodeConfigError, match="names no data"):
        is_simulated(simulations)


# --- messages -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _site_is_forgotten() -> Iterator[None]:
    yield
    read_site.cache_clear()


@pytest.fixture
def node(tmp_path: Path) -> dict[str, Any]:
    """The node config of a site with the features of two classes."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2
    np.savez(tmp_path / "own.npz", x=x, y=y)
    return {
        "partition-id": 0,
        "num-partitions": 2,
        "data": f"features:{tmp_path / 'own.npz'}",
        "cache": str(tmp_path / "cache"),
    }


def _context(node: Mapping[str, Any], run: Mapping[str, Any]) -> Context:
    return Context(1, 5, dict(node), RecordDict(), {**DEFAULTS, **run})


def _asked(kind: str, context: Context, content: RecordDict | None = None) -> Message:
    assume_server_identity()
    content = content or RecordDict({"config": ConfigRecord({"server-round": 0})})
    return flower_app.reply(Message(content, dst_node_id=5, message_type=kind), context)


def test_a_site_that_names_no_data_lends_none(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_data, "_in_ray", lambda: False)
    own = {key: node[key] for key in ("partition-id", "num-partitions")}
    reply = _asked(phases.HANDSHAKE, _context(own, {"data": node["data"]}))
    assert (reply.error.code, reply.error.reason) == (
        REFUSED,
        "This site's own settings are wrong; its log says how",
    )


def test_what_is_wrong_at_home_is_told_at_home(
    node: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    reply = _asked(phases.HANDSHAKE, _context({**node, "Ada Lovelace": 1}, {}))
    assert reply.error.reason == "This site's own settings are wrong; its log says how"
    assert "Ada Lovelace" in caplog.text


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_what_a_site_keeps_is_its_users_alone(node: dict[str, Any], umask: int) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):
            context = _context(node, {})
            for kind in (phases.HANDSHAKE, phases.MOMENTS):
                assert _asked(kind, context).has_content()
                kept = [Path(node["cache"]), *Path(node["cache"]).rglob("*")]
                assert len(kept) > 4
                modes = {path: path.stat().st_mode & 0o777 for path in kept}
                assert set(modes.values()) == {0o700, 0o600}
                assert all(modes[path] == (0o700 if path.is_dir() else 0o600) for path in kept)
            for path in kept:  # as a cache of an older version would be
                path.chmod(0o777 if path.is_dir() else 0o666)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_cache_that_cannot_be_closed_is_not_used(node: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "sites").symlink_to(tmp_path / "elsewhere")
    reply = _asked(phases.HANDSHAKE, _context(node, {}))
    assert reply.error.reason == "This site's own settings are wrong; its log says how"
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("mode", "said"), [(0o777, "others may write"), (0o755, "belongs to another user")]
)
def test_a_cache_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, said: str
) -> None:
    (tmp_path / "features").mkdir()
    tmp_path.chmod(mode)
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    with pytest.raises(OpenFilesError, match=said):
        close_to_others(tmp_path)


def test_a_message_may_take_so_long_and_no_longer(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context({**node, "most-seconds": 0.05}, {})
    assert _asked(phases.HANDSHAKE, context).has_content()
    known, answer = dict(context.state), own_data._answer

    def slow(config: RunConfig, message: Message, context: Context) -> Message:
        context.state["half"] = ConfigRecord({"done": True})
        time.sleep(0.5)
        return answer(config, message, context)

    monkeypatch.setattr(own_data, "_answer", slow)
    reply = _asked(phases.MOMENTS, context)
    assert reply.error.reason.startswith("This site stopped after 0.05 s (most-seconds")
    assert dict(context.state) == known


def test_a_message_may_be_so_large_and_no_larger(node: dict[str, Any]) -> None:
    context = _context({**node, "most-megabytes": 40e-6}, {})
    assert "refuses the reply of 0.0 MB" in _asked(phases.HANDSHAKE, context).error.reason
    assert dict(context.state) == {}  # nothing is remembered of what did not leave
    large = RecordDict({"config": ConfigRecord({"server-round": 0, "more": list(range(9))})})
    assert "refuses the message" in _asked(phases.HANDSHAKE, context, large).error.reason
