"""What watches a site's processes from within, and what a hostile server may try to have them take.

Every Python process that finds :func:`write_witness`'s folder on its path reports, through
``sys.addaudithook``, each event that has to do with the bait or with the sites' own pictures, if
the variable ``WITNESS`` says where.
"""

from __future__ import annotations

from pathlib import Path

BAIT = "bait_of_a_hostile_server"

_HOOK = f'''
import os, sys

_MARKS = ("{BAIT}", "/down")
_OTHERS = ("compile", "sys.setprofile")


def _see(event, arguments):
    told = " ".join(str(one)[:300] for one in arguments if isinstance(one, (str, bytes)))
    where = os.environ.get("WITNESS")
    if where and any(mark in told for mark in _MARKS) and event not in _OTHERS:
        handle = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, (event + " " + told + chr(10)).encode())
        os.close(handle)


sys.addaudithook(_see)
'''


def write_witness(folder: Path) -> Path:
    """Lay out the bait in a folder; return what goes on the path of the processes to watch."""
    bait, path = folder / BAIT, folder / "watched"
    (bait / "pictures" / "a").mkdir(parents=True)
    for name in ("labels.csv", "parts.json", "weights.pth"):
        (bait / name).write_text("[]")
    path.mkdir()
    (path / "sitecustomize.py").write_text(_HOOK)
    (path / f"{BAIT}.py").write_text("from strategies.fedavg import STRATEGY as Strategy")
    return path
