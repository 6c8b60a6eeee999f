"""A site with data of its own tells nobody what it raised; a client of a simulation tells all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from federation_of_sites import federate, folder_of_sites, grid_of_sites
from flwr.app import Context, Message, RecordDict
from own_strategies import place_of, write_strategies
from small_federation import Notes

from fedtl import flower_app
from fedtl.client import own_data
from fedtl.config import RunConfig
from fedtl.engine.inline_grid import InlineGrid
from fedtl.errors import FedtlError
from fedtl.federation.server import Federation
from fedtl.messages import phases
from fedtl.messages.failure_codes import FAILED, NOT_OPENED, SENTENCES
from strategies.base import Arrays, Reply
from strategies.fedavg import FedAvg

SITES = 3
SECRET = "Ada Lovelace, 36, /home/ada/scan.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_sites(tmp_path_factory.mktemp("own"), SITES)


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


class Faulty(FedAvg):
    """Fails at the server, in its second round."""

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        if server_round == 2:
            raise ZeroDivisionError("no site answered")
        return super().aggregate(server_round, head, replies)


@pytest.mark.parametrize("real", [True, False])
def test_a_strategy_that_fails_at_the_server_of_sites_is_told_with_its_traceback(
    real: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtl.runs.clients.is_simulation", lambda grid: not real)
    config = RunConfig(
        strategy="test_errors_at_sites:Faulty", clients=SITES, rounds=3, out=str(tmp_path / "run")
    )
    node = {site: {"allow": "module:Class"} for site in range(SITES)}
    grid = grid_of_sites(config, folder, tmp_path / "cache", node)
    context = Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config.to_mapping()
    )
    with pytest.raises(FedtlError) as error:
        flower_app.serve(grid, context)
    said = str(error.value)
    assert said.startswith("ZeroDivisionError: no site answered (")
    assert f"{__file__}, line" in said and "\n" not in said
    told = (tmp_path / "run" / "errors.log").read_text()
    assert "Traceback (most recent call last)" in told and f'File "{__file__}"' in told
    # What there was until then stays.
    assert (tmp_path / "run" / "checkpoint").is_dir()
    assert "--resume" not in said
