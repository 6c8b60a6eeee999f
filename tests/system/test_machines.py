"""Machines as they are: containers, clusters, full disks; and what a run that was killed leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from own_process import run_module

from fedtl.transfer.features import FeatureStore
from fedtl.transfer.shared_features import Spill

ROOT = Path(__file__).parents[2]


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


mounting = pytest.mark.skipif(not _may_mount(), reason="this user may not mount in a namespace")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "x.npz"
    np.savez(path, x=x, y=y)
    return path


# --- kills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "phase", "engine"),
    [
        (signal.SIGHUP, "Ray starts", "ray"),
        (signal.SIGTERM, "features", "inline"),
    ],
)
def test_nothing_is_left_of_a_killed_run(number: signal.Signals, phase: str, engine: str) -> None:
    """Two of the many that simulations/benchmarks/kills.py tries; one more is in test_resume.py."""
    command = [sys.executable, "-m", "simulations.benchmarks.kills", "--phase", phase]
    command += ["--engine", engine, "--signal", number.name]
    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (end.returncode, end.stdout[:6]) == (0, "right "), end.stdout + end.stderr


def test_features_without_a_file_have_no_name_and_are_found_by_others() -> None:
    spill = Spill()
    shared = spill.share(np.arange(12, dtype=np.float32).reshape(4, 3))
    code = f"import numpy; print(numpy.fromfile({str(shared.path)!r}, 'f4').sum())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(told.stdout) == 66.0
    assert shared.path is not None and "deleted" in str(shared.path.readlink())
    matrix = shared.tensor()
    spill.close()
    assert not shared.path.exists() or "fedtl" not in str(shared.path.readlink())
    assert float(matrix.sum()) == 66.0, "who has mapped it keeps it"


@pytest.mark.parametrize("free", [10**12, 0])
def test_features_lie_on_disk_where_memory_is_short(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtl.transfer.shared_features.free_memory", lambda: free)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spill = Spill()
    shared = spill.share(np.ones((4, 3), np.float32))
    assert shared.path is not None
    assert shared.path.readlink().is_relative_to(tmp_path) == (free == 0)
    assert float(shared.tensor().sum()) == 12.0
    assert list(tmp_path.iterdir()) == []


# --- waiting --------------------------------------------------------------------------------------


def test_who_waits_for_the_cache_says_for_whom(tmp_path: Path) -> None:
    one, two = (FeatureStore(tmp_path, extractor="ab", width=3) for _ in range(2))
    told: list[str] = []

    def second() -> None:
        with two.filling(told.append):
            told.append("its turn")

    thread = threading.Thread(target=second)
    with one.filling(told.append):
        thread.start()
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(told) == 1
    thread.join(10)
    assert told[0].startswith(f"waiting for process {os.getpid()} on ")
    assert told[0].endswith(f", which computes features in {tmp_path}")
    assert told[1:] == ["its turn"]


# --- containers -----------------------------------------------------------------------------------

# A script without a main guard, as code from standard input is.
_SCRIPT = """
import sys
from fedtl import simulate
from fedtl.command_line import run_command
sys.argv = ["fedtl", *{arguments!r}]
run_command(simulate.main)
"""
_BARE = "mount -t tmpfs -o ro tmpfs /dev/shm && mount -t tmpfs -o ro tmpfs /mnt && cd /mnt && "


def _in_a_container(arguments: list[str], **environment: str) -> str:
    """Return standard error of a run without shared memory, in a folder nobody may write to."""
    nobody = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = " ".join([*nobody, *reading, sys.executable, "-B", "-"])
    end = subprocess.run(
        ["unshare", "-m", "sh", "-c", _BARE + "exec " + command],
        input=_SCRIPT.format(arguments=arguments),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert end.returncode == 0, end.stderr
    return end.stderr


@pytest.fixture
def anybodys(tmp_path: Path) -> Path:
    """A folder that every user may write to, as long as pytest's own are not."""
    folder = Path("/tmp") / f"fm{os.getpid()}-{time.monotonic_ns() % 10**6}"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@mounting
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_ray_in_the_barest_container(anybodys: Path) -> None:
    """No user, no home, no shared memory, long TMPDIR, ASCII, read-only folder; code from stdin.

    As ``uv run`` and ``ray job submit`` would, the environment asks Ray to prepare one for workers.
    """
    temporary = anybodys / ("x" * 120)
    temporary.mkdir()
    temporary.chmod(0o777)
    arguments = [
        "--clients=2",
        "--client-cpus=2",
        "--rounds=1",
        "--hospitals-images=150",
        "--hospitals-test-images=40",
    ]
    arguments += [f"--out={anybodys / 'run'}", "--strategy=fed3r"]
    try:
        said = _in_a_container(
            arguments,
            TMPDIR=str(temporary),
            PYTHONIOENCODING="ascii",
            HOME="/",
            RAY_RUNTIME_ENV_HOOK="builtins.dict",
            RAY_JOB_CONFIG_JSON_ENV_VAR='{"runtime_env": {"env_vars": {"A": "b"}}, "metadata": {}}',
        )
        warnings = [line for line in said.splitlines() if "arning" in line]
        assert [line for line in warnings if "no home folder" in line] == warnings[:1], said
        assert "atplotlib" not in said
        assert (anybodys / "run" / "report.html").exists()
        assert list(temporary.iterdir()) == []
    finally:
        shutil.rmtree(anybodys, ignore_errors=True)


@mounting
def test_features_larger_than_shared_memory(tmp_path: Path) -> None:
    y = np.arange(700) % 3
    np.savez(tmp_path / "big.npz", x=np.ones((700, 500), np.float32) * y[:, None], y=y)
    arguments = [f"--data=features:{tmp_path / 'big.npz'}", "--clients=2", "--strategy=fedncm"]
    arguments += ["--engine=inline", "--quiet", f"--out={tmp_path / 'run'}"]
    end = run_module("small_memory", "1m", *arguments)
    assert end.returncode == 0, end.stderr
    assert "error" not in end.stderr


@mounting
def test_a_full_disk_at_any_write_costs_nothing_that_was_there(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    end = run_module("full_disk", tmp_path / "disk", data, timeout=200)
    assert end.returncode == 0, end.stderr
    ends = json.loads(end.stdout)
    undisturbed = ends[-1]["head"]
    assert [one["first"][0] for one in ends] == [1] * (len(ends) - 1) + [0]
    for one in ends:
        assert one["half-written"] == []
        assert one["second"] == [0, ""]
        assert one["head"] == undisturbed
        if one["first"][0]:
            assert one["first"][1].startswith("error: ") and one["first"][1].count("\n") == 1
            assert "No space left on device" in one["first"][1]
            assert ("--resume" in one["first"][1]) == one["kept"]


# --- a user's own strategies ----------------------------------------------------------------------


# Each in a process of its own.
_IN_EACH = """
import importlib, os, sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("fedtl", "strategies")]:
    del sys.modules[name]
own = {"folder": "strategies.mine", "package": "strategies.mine", "file": "strategies"}
for form, name in own.items():
    if os.fork() == 0:
        os.chdir(form)
        importlib.invalidate_caches()
        import fedtl, strategies
        print(form, strategies.load(name + ":Mine").__mro__[1].__module__, flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_users_own_strategies_simply_work(tmp_path: Path) -> None:
    mine = "from strategies.fedavg import FedAvg\n\nclass Mine(FedAvg):\n    pass\n"
    for form in ("folder", "package"):
        (tmp_path / form / "strategies").mkdir(parents=True)
        (tmp_path / form / "strategies" / "helper.py").write_text("")
        own = tmp_path / form / "strategies" / "mine.py"
        own.write_text("import strategies.helper\n" + mine)
    file = tmp_path / "package" / "strategies" / "__init__.py"
    file.write_text("raise SystemExit('not fedtl's')")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "strategies.py").write_text(mine)
    (tmp_path / "in_each.py").write_text(_IN_EACH)
    end = run_module("in_each", folder=tmp_path)
    told = [f"{form} strategies.fedavg\n" for form in ("folder", "package", "file")]
    assert (end.stdout, end.stderr) == ("".join(told), "")


def test_another_strategies_that_was_imported_first_is_told(tmp_path: Path) -> None:
    (tmp_path / "strategies.py").write_text("")
    end = subprocess.run(
        [sys.executable, "-c", "import strategies, fedtl"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "import fedtl first, or rename that module" in end.stderr
