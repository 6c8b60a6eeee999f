"""A site with data of its own tells nobody what it raised; a client of a simulation tells all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation_of_sites import federate
from flwr.app import Context, Message
from own_strategies import place_of, write_strategies
from small_federation import Notes

from fedtl import flower_app
from fedtl.client import own_data
from fedtl.config import RunConfig
from fedtl.engine.inline_grid import InlineGrid
from fedtl.federation.server import Federation
from fedtl.messages import phases
from fedtl.messages.failure_codes import FAILED, NOT_OPENED, SENTENCES
from strategies.fedavg import FedAvg

SITES = 3
SECRET = "Ada Lovelace, 36, /home/ada/scan.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    draws = np.random.default_rng(0)
    for site in range(SITES):
        y = np.arange(60) % 3
        x = np.eye(3, 4)[y] + 0.7 * draws.normal(size=(60, 4))
        np.savez(root / f"{site}.npz", x=x.astype(np.float32), y=y)
    return root


def _raise(*given: object, **named: object) -> Any:
    raise KeyError(SECRET)


@pytest.mark.parametrize(
    ("where", "code"), [("training", FAILED), ("opening", NOT_OPENED)], ids=["training", "opening"]
)
@pytest.mark.parametrize("engine", ["ray", "debug"])
def test_nothing_of_an_error_leaves_a_site(
    where: str,
    code: int,
    engine: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answered = own_data._answer

    def troubled(config: RunConfig, message: Message, context: Context) -> Message:
        """Raise at site 1 once it trains, as its own code would."""
        with pytest.MonkeyPatch.context() as patch:
            training = message.metadata.message_type == phases.TRAIN
            if training and context.node_config["partition-id"] == 1:
                if where == "training":
                    patch.setattr(FedAvg, "client_train", _raise)
                else:
                    patch.setattr(own_data, "kept_site", _raise)
            return answered(config, message, context)

    monkeypatch.setattr(own_data, "_answer", troubled)
    config = RunConfig(clients=SITES, rounds=2, engine=engine)
    # A site refuses an engine that is not the default unless its own node config allows it.
    allowed = {site: {"allow": "engine"} for site in range(SITES)}
    outcome, notes, told = federate(config, folder, tmp_path, allowed)
    errors = [reply.error for reply in told if reply.has_error()]
    assert [(error.code, error.reason) for error in errors] == [(code, SENTENCES[code])] * 2
    assert [failure[1:] for failure in outcome.failures] == [(1, SENTENCES[code])] * 2
    assert notes.faults == []
    everything = repr([[vars(reply), vars(reply.metadata)] for reply in told])
    everything += repr((notes.warnings, notes.rows, outcome.failures))
    assert SENTENCES[code] in everything
    for word in ("Ada", "KeyError", "Traceback", __file__):
        assert word not in everything
    # Whoever runs the site is told all.
    assert SECRET in caplog.text and "Traceback (most recent call last)" in caplog.text
    assert f'File "{__file__}"' in caplog.text


def test_a_client_of_flowers_own_simulation_tells_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_strategies(tmp_path, "buggy_in_flower")
    monkeypatch.syspath_prepend(str(tmp_path))
    node: Mapping[str, Any] = {"simulated": True, "cache": str(tmp_path / "cache")}

    def simulated(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        for context in contexts:
            context.node_config |= node
        return [flower_app.reply(*one) for one in zip(messages, contexts, strict=True)]

    data = f"features:{folder / '0.npz'}"
    config = RunConfig(
        clients=SITES, rounds=1, strategy="buggy_in_flower:InClient", partition="iid", data=data
    )
    notes = Notes()
    grid = InlineGrid(SITES, simulated, config.to_mapping(), block=1)
    outcome = Federation(grid, config, notes).run()
    sentence = f"ZeroDivisionError: division by zero ({place_of(path, 'client')})"
    assert outcome.failures == [(1, 1, sentence)]
    [(server_round, client, fault)] = notes.faults
    assert (server_round, client, fault.sentence) == (1, 1, sentence)
    assert "share = 1 / 0  # bug of the client" in fault.traceback
