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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import full_disk
import numpy as np
import pytest

from fedtl.engine import ray_head
from fedtl.engine.ray_head import RayHead, remove_leftovers
from fedtl.errors import FedtlError
from fedtl.free_memory import free_memory
from fedtl.transfer.features import FeatureStore
from fedtl.transfer.shared_features import Spill

ROOT = Path(__file__).parents[1]
TESTS = Path(__file__).parent


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
        (signal.SIGKILL, "rounds", "ray"),
        (signal.SIGHUP, "Ray starts", "ray"),
        (signal.SIGTERM, "features", "inline"),
    ],
)
def test_nothing_is_left_of_a_killed_run(number: signal.Signals, phase: str, engine: str) -> None:
    """Three of the many that simulations/benchmarks/kills.py tries."""
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


# --- a start that cannot hang ---------------------------------------------------------------------

_NEVER_ANSWERS = """
import ctypes, subprocess
def init(**options):
    subprocess.Popen(["sleep", "1000"])
    ctypes.PyDLL(None).sleep(1000)  # as Ray's connect: in C, with Python's lock
"""


@pytest.fixture
def fake_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the process that starts Ray find another; return the folder for temporary files."""
    (tmp_path / "lib").mkdir()
    temporary = Path("/tmp") / f"f{os.getpid()}-{time.monotonic_ns() % 10**6}"
    temporary.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(ray_head, "_INTERNALS", tmp_path / "lib" / "internals.py")
    (tmp_path / "lib" / "internals.py").write_text(
        "from contextlib import nullcontext as lean_head\n"
    )
    return temporary


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def test_a_raylet_that_never_answers_ends_in_a_sentence(
    fake_ray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib" / "ray.py").write_text(_NEVER_ANSWERS)
    monkeypatch.setattr(ray_head, "START_SECONDS", 1.5)
    began = time.monotonic()
    head = RayHead("", {}, actors=1)
    assert len(list(fake_ray.iterdir())) == 1
    with pytest.raises(FedtlError) as caught:
        head.answer()
    assert time.monotonic() - began < 4.0
    sentence = str(caught.value)
    assert sentence.startswith("Cannot start Ray: no answer in 2 s, with ")
    for words in (" of memory and ", "(/dev/shm) free", "--engine inline"):
        assert words in sentence
    assert _session(head._process.pid) == []
    assert list(fake_ray.iterdir()) == []
    fake_ray.rmdir()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def init(**o): raise RuntimeError('no port')", "Cannot start Ray: no port; --engine"),
        (
            "def init(**o):\n import os, sys\n sys.stderr.write('bad\\nworse')\n"
            " sys.stderr.flush()\n os._exit(3)",
            "it ended while it started (worse)",
        ),
    ],
)
def test_a_start_that_fails_says_why(code: str, told: str, fake_ray: Path, tmp_path: Path) -> None:
    (tmp_path / "lib" / "ray.py").write_text(code)
    with pytest.raises(FedtlError) as caught:
        RayHead("", {}, actors=1).answer()
    assert told in str(caught.value)
    assert list(fake_ray.iterdir()) == []
    fake_ray.rmdir()


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/job/step", ("memory.max", "memory.current", "inactive_file")),
        (
            "7:cpu:/\n4:memory:/job/step",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_too_little_memory_is_told_before_anything_starts(
    own: str, files: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of a group above the process's own, as batch systems set it."""
    (tmp_path / "own").write_text(own)
    root = tmp_path / "memory" if "4:memory" in own else tmp_path
    limits = {"job/step": "max" if root == tmp_path else str(2**63 - 4096), "job": "300000000"}
    for group, limit in limits.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / files[0]).write_text(limit)
        (root / group / files[1]).write_text("200000000")
        (root / group / "memory.stat").write_text(f"anon 1\n{files[2]} 50000000\n")
    monkeypatch.setattr("fedtl.free_memory._CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr("fedtl.free_memory._OWN_GROUPS", tmp_path / "own")
    assert free_memory() == 150_000_000
    monkeypatch.setattr(ray_head, "own_memory", lambda: 2**30)
    with pytest.raises(FedtlError) as caught:
        RayHead("", {}, actors=2)
    assert str(caught.value).startswith(
        "Cannot start Ray: with 2 client processes it takes 828.4 MB of memory, and there is "
        "150.0 MB of memory and "
    )
    (root / "job" / files[0]).write_text("max")
    free = free_memory()
    assert free is None or free > 150_000_000


def test_memory_that_is_really_short_ends_in_a_sentence(tmp_path: Path) -> None:
    """In a control group of 600 MB, in which a run without Ray has enough."""
    with _control_group(600 * 2**20) as joined:
        command = [*joined, sys.executable, "-m", "fedtl.simulate", "--clients=2", "--rounds=1"]
        command += ["--hospitals-images=150", "--hospitals-test-images=40", "--no-cache"]
        ends = [
            subprocess.run(
                [*command, f"--engine={engine}", f"--out={tmp_path / engine}"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            for engine in ("ray", "inline")
        ]
    assert [end.returncode for end in ends] == [1, 0], ends
    *_, last = ends[0].stderr.splitlines()
    assert last.startswith("error: Cannot start Ray: with 2 client processes it takes ")
    assert "MB of memory, and there is " in last and "--engine inline" in last


@contextmanager
def _control_group(limit: int) -> Iterator[list[str]]:
    """Make a control group with a limit of memory; yields what to put before a command."""
    name = f"fedtl-{os.getpid()}-{time.monotonic_ns()}"
    for root, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / root / name
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        finally:
            group.rmdir()
        return
    pytest.skip("this user may not make control groups with a limit of memory")


def test_a_start_removes_what_dead_runs_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_head, "_parents", lambda: iter([tmp_path]))
    monkeypatch.setattr(ray_head, "_LONGEST_FOLDER", 1000)
    living, lock = ray_head._new_folder()
    dead, dead_lock = ray_head._new_folder()
    os.close(dead_lock)
    (tmp_path / "fedtl-of-somebody-else").mkdir()
    remove_leftovers()
    assert living.is_dir() and not dead.exists()
    assert (tmp_path / "fedtl-of-somebody-else").is_dir()
    os.close(lock)


def test_no_place_for_sockets_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_head, "_parents", lambda: iter([tmp_path / ("x" * 100)]))
    with pytest.raises(FedtlError, match=r"a path of at most 26 characters, but .* set TMPDIR"):
        ray_head._new_folder()


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
_BARE = "mount -t tmpfs -o {shm} tmpfs /dev/shm && mount -t tmpfs -o ro tmpfs /mnt && cd /mnt && "


def _in_a_container(shm: str, arguments: list[str], **environment: str) -> str:
    """Return standard error of a run with such shared memory, in a folder nobody may write to."""
    nobody = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = " ".join([*nobody, *reading, sys.executable, "-B", "-"])
    end = subprocess.run(
        ["unshare", "-m", "sh", "-c", _BARE.format(shm=shm) + "exec " + command],
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
    """No user, no home, no shared memory, long TMPDIR, ASCII, read-only folder; code from stdin."""
    temporary = anybodys / ("x" * 120)
    temporary.mkdir()
    temporary.chmod(0o777)
    arguments = [
        "--clients=2",
        "--rounds=1",
        "--hospitals-images=150",
        "--hospitals-test-images=40",
    ]
    arguments += [f"--out={anybodys / 'run'}", "--strategy=fed3r"]
    try:
        said = _in_a_container(
            "ro", arguments, TMPDIR=str(temporary), PYTHONIOENCODING="ascii", HOME="/"
        )
        warnings = [line for line in said.splitlines() if "arning" in line]
        assert [line for line in warnings if "no home folder" in line] == warnings[:1], said
        assert "atplotlib" not in said
        assert (anybodys / "run" / "report.html").exists()
        assert list(temporary.iterdir()) == []
    finally:
        shutil.rmtree(anybodys, ignore_errors=True)


@mounting
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_features_larger_than_shared_memory(anybodys: Path) -> None:
    y = np.arange(3000) % 3
    np.savez(anybodys / "big.npz", x=np.ones((3000, 500), np.float32) * y[:, None], y=y)
    arguments = [f"--data=features:{anybodys / 'big.npz'}", "--clients=2", "--strategy=fedncm"]
    arguments += ["--engine=inline", "--quiet", f"--out={anybodys / 'run'}"]
    try:
        assert "error" not in _in_a_container("size=1m", arguments)
    finally:
        shutil.rmtree(anybodys, ignore_errors=True)


@mounting
def test_a_full_disk_at_any_write_costs_nothing_that_was_there(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    end = subprocess.run(
        ["unshare", "-m", sys.executable, full_disk.__file__, str(tmp_path / "disk"), str(data)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
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


@pytest.mark.parametrize("form", ["folder", "package", "file"])
def test_a_users_own_strategies_simply_work(form: str, tmp_path: Path) -> None:
    mine = "from strategies.fedavg import FedAvg\n\nclass Mine(FedAvg):\n    pass\n"
    name = "strategies:Mine" if form == "file" else "strategies.mine:Mine"
    if form == "file":
        (tmp_path / "strategies.py").write_text(mine)
    else:
        (tmp_path / "strategies").mkdir()
        (tmp_path / "strategies" / "helper.py").write_text("")
        (tmp_path / "strategies" / "mine.py").write_text("import strategies.helper\n" + mine)
    if form == "package":
        (tmp_path / "strategies" / "__init__.py").write_text("raise SystemExit('not fedtl's')")
    code = f"import fedtl, strategies; print(strategies.load({name!r}).__mro__[1].__module__)"
    end = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (end.stdout, end.stderr) == ("strategies.fedavg\n", "")


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
