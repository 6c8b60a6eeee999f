"""What an exported folder says in a process that cannot import fedtl or what it is built on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CODE = """
import runpy, sys, warnings

FORBIDDEN = ("fedtl", "strategies", "simulations", "flwr", "ray")

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{name} is barred", name=name)

sys.meta_path.insert(0, Barred())
warnings.simplefilter("ignore", FutureWarning)
import numpy as np

for number, folder in enumerate(sys.argv[2].split(",")):
    script = runpy.run_path(f"{folder}/load_model.py")
    model = script["load"]()
    prepared = [script["prepared"](path) for path in sys.argv[3:]]
    values = [script["classify"](model, batch)[0] for batch in prepared]
    np.save(f"{sys.argv[1]}/{number}.npy", np.stack(values))
    if not number:
        inputs = [np.asarray(batch[0])[0] for batch in prepared]
        np.savez(f"{sys.argv[1]}/prepared.npz", *inputs)
assert not [name for name in sys.modules if name.partition(".")[0] in FORBIDDEN]
"""


def said_without_fedtl(
    folders: Sequence[Path], files: Sequence[Path], into: Path
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Classify files with the scripts of exported folders, in one process elsewhere.

    Returns:
        For each folder the values, shape ``(n, K)``; and what the first folder's script made of
        each file.
    """
    arguments = [str(into), ",".join(map(str, folders)), *map(str, files)]
    ended = subprocess.run(
        [sys.executable, "-I", "-c", _CODE, *arguments],
        capture_output=True,
        text=True,
        cwd=into,
        env={"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    with np.load(into / "prepared.npz") as found:
        prepared = [found[name] for name in found.files]
    return [np.load(into / f"{number}.npy") for number in range(len(folders))], prepared
