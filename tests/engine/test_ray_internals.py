"""What of Ray runs on this machine, and what of it is left as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private import services, worker

from fedtl.engine import ray_agent_stand_in, ray_session
from fedtl.engine.ray_internals import lean_head, no_environment_of_the_job
from fedtl.engine.resources import Resources


@pytest.mark.usefixtures("shared_ray")
def test_nothing_runs_but_what_a_simulation_uses() -> None:
    # Who has joined a cluster has left this machine's Ray.
    ray_session.start_ray("", Resources(2.0, 0.0), clients=1, client_cpus=1.0, client_gpus=0.0)
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path()).name
    scripts: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0].endswith("raylet"):  # which names its agents' scripts as well
            continue
        if any(session in word for word in words):
            scripts += [Path(word).name for word in words if word.endswith(".py")]
    of_workers = ("default_worker.py", "setup_worker.py")
    assert [name for name in scripts if name not in of_workers] == 2 * ["ray_agent_stand_in.py"]


def _raylet(*words: str) -> list[str]:
    return ["raylet", "--session_dir=/tmp/a b", "--node_id=1f", "--head", *words]


def test_a_raylet_without_agents_and_other_processes_start_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command: started.append(command))
    only_one = _raylet("--dashboard_agent_command=python agent.py")
    with lean_head():
        services.start_ray_process(["gcs_server", "--session-name=a"])
        services.start_ray_process(only_one)
        services.start_ray_process(
            _raylet("--dashboard_agent_command=x", "--runtime_env_agent_command=y", "--more=1")
        )
    assert started[:2] == [["gcs_server", "--session-name=a"], only_one]
    assert started[2][:4] == _raylet() and started[2][-1] == "--more=1"
    one, other = started[2][4:6]
    assert one.startswith("--dashboard_agent_command=") and "metrics_agent_port=-1" in one
    assert other.startswith("--runtime_env_agent_command=")
    assert all('"/tmp/a b" 1f ' in word and "stand_in.py" in word for word in (one, other))


def test_an_environment_of_the_job_is_there_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    modify = worker._maybe_modify_runtime_env
    with no_environment_of_the_job():
        assert "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ
        assert worker._maybe_modify_runtime_env is not modify
    assert os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] == "{}"
    assert worker._maybe_modify_runtime_env is modify


def test_a_stand_in_whose_raylet_has_ended_ends_too(tmp_path: Path) -> None:
    """A run that is killed while Ray starts leaves its stand-ins another parent, such as here."""
    script = ray_agent_stand_in.__file__
    command = [sys.executable, "-IS", script, str(tmp_path), "node", "metrics_agent_port=-1"]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0
    assert not list(tmp_path.iterdir())
