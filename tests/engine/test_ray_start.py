"""Ray's start has a deadline and needs memory; what ends before the run is told."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fedtl.engine import ray_head
from fedtl.engine.ray_head import RayHead, remove_leftovers
from fedtl.engine.ray_internals import sigterm_kept
from fedtl.errors import FedtlError
from fedtl.free_memory import free_memory

ROOT = Path(__file__).parents[2]

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


_ANSWERS = """
import subprocess, types
def init(**options):
    print(subprocess.Popen(["sleep", "1000"]).pid, file=open({told!r}, "w"), flush=True)
    return types.SimpleNamespace(address_info={{"gcs_address": "here"}})
"""


def test_an_error_ends_a_ray_that_has_not_answered(fake_ray: Path, tmp_path: Path) -> None:
    (tmp_path / "lib" / "ray.py").write_text(_NEVER_ANSWERS)
    head = RayHead("", {}, actors=1)
    head.stop(unless_answered=True)
    assert _session(head._process.pid) == []


@pytest.mark.parametrize("ends", ["Ray", "run"])
def test_a_run_is_told_if_ray_ends_before_it(
    ends: str, fake_ray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib" / "ray.py").write_text(_ANSWERS.format(told=str(tmp_path / "pid")))
    told: list[str] = []
    monkeypatch.setattr(ray_head, "end_for", told.append)
    head = RayHead("", {}, actors=1)
    assert head.answer() == "here"
    if ends == "Ray":
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    head.stop()
    assert [line[:29] for line in told] == (
        ["one of Ray's processes ended,"] if ends == "Ray" else []
    )
    assert _session(head._process.pid) == []
    fake_ray.rmdir()


def test_an_error_leaves_a_ray_that_a_thread_may_be_joining(fake_ray: Path, tmp_path: Path) -> None:
    """Its calls would wait a minute for processes that are gone, and end this process then."""
    (tmp_path / "lib" / "ray.py").write_text(_ANSWERS.format(told=str(tmp_path / "pid")))
    head = RayHead("", {}, actors=1)
    head.answer()
    head.stop(unless_answered=True)
    assert _session(head._process.pid)
    head.stop()
    assert _session(head._process.pid) == []


def test_a_ray_that_answers_while_an_error_ends_it_is_not_joined(
    fake_ray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib" / "ray.py").write_text(_ANSWERS.format(told=str(tmp_path / "pid")))
    head = RayHead("", {}, actors=1)
    answer = head._answer

    def answered() -> str:
        found = answer()
        head._stopped = True
        return found

    monkeypatch.setattr(head, "_answer", answered)
    with pytest.raises(FedtlError, match="was ended while it started"):
        head.answer()
    assert _session(head._process.pid) == []


def test_a_command_that_cannot_go_on_says_why_and_how() -> None:
    code = """
import sys, time
from fedtl.command_line import run_command
from fedtl.interruption import end_for, in_hand
def main() -> None:
    with in_hand(lambda: "go on with --resume here"):
        end_for("a process has ended")
        time.sleep(60)
sys.argv = ["x"]
run_command(main)
"""
    end = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    told = "error: a process has ended; go on with --resume here.\n"
    assert (end.returncode, end.stdout, end.stderr) == (1, "", told)


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
        "Cannot start Ray: with 2 client processes it takes 870.3 MB of memory, and there is "
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
        end = subprocess.run(
            [*command, f"--out={tmp_path / 'run'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert end.returncode == 1, end
    last = end.stderr.splitlines()[-1]
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


def test_sigterm_does_what_it_did_before_ray_came() -> None:
    """Ray goes with signal handlers at their defaults, behind Python's back."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with sigterm_kept():
            ctypes.CDLL(None).signal(int(signal.SIGTERM), signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
