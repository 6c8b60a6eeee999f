"""The same seed renders the same bytes: hashes written down once, met on every machine of a type.

numpy computes exp, sin and cos in float32 by the same steps with AVX2 and with AVX-512, and what
its BLAS does differently is rounded away. So the type is any x86-64 CPU with AVX2 and FMA (2013 and
later); the hashes were recorded on an AMD EPYC 9005 and met with numpy held to AVX2, and with the
BLAS kernels for Haswell, Skylake-X and Nehalem. Random streams are numpy's, which may change them
in a later version.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedtl.data.hospitals import HospitalImages, HospitalsOptions, SiteShift, hospitals_dataset

CASES = {
    "default": (
        0,
        HospitalsOptions(),
        "055668fc3b1f63846e8d86e87ffefcb682105786a9ed1a8778e98da9d4c45858",
    ),
    "other seed": (
        12345,
        HospitalsOptions(sites=30),
        "8a8389943b7d159da1771e3b02baa8ed3cf624f3bfb5d81cbf6ddd10bb07cee2",
    ),
    "odd size, strong shift": (
        1,
        HospitalsOptions(size=51, shift=SiteShift().times(4)),
        "c7f76b00121518cd41fc924caed387d4cfe325dd3bd3dda45f96ead5957bc671",
    ),
    "no shift, large": (
        2,
        HospitalsOptions(size=160, shift=SiteShift().times(0)),
        "164691ea051933b3debb466f4068f7997f30f0b4c18b78e2ce4fcb512b6a2c35",
    ),
    "sharp, heavily compressed": (
        3,
        HospitalsOptions(size=96, shift=SiteShift(focus=0, noise=0, jpeg=2)),
        "0eaba21ab42b00ab0e284a13ea8f5b1595def6cb6f0431734a3c846ef6772bf3",
    ),
}


def has_avx2() -> bool:
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    return platform.machine() == "x86_64" and {"avx2", "fma"} <= flags


pytestmark = pytest.mark.skipif(
    not has_avx2(), reason="the hashes are those of x86-64 CPUs with AVX2 and FMA"
)


def sha256(case: str) -> str:
    seed, options, _ = CASES[case]
    data = hospitals_dataset(seed, options)
    assert isinstance(data.inputs, HospitalImages)
    rows = np.r_[:24, options.images : options.images + 8]
    digest = hashlib.sha256(data.inputs.load_batch(rows).tobytes())
    digest.update(data.labels.astype("<i8").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("case", CASES)
def test_bytes_are_those_written_down(case: str) -> None:
    assert sha256(case) == CASES[case][2]


@pytest.mark.parametrize("kernel", ["Haswell", "SkylakeX", "Nehalem"])
def test_bytes_do_not_depend_on_the_blas_kernel_or_its_threads(kernel: str) -> None:
    """In a process of its own, which OpenBLAS lets choose another CPU type's kernel."""
    if kernel == "SkylakeX" and "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU cannot run that kernel")
    code = "import test_hospitals_bytes as t; print(*map(t.sha256, t.CASES))"
    environment = {
        **os.environ,
        "OPENBLAS_CORETYPE": kernel,
        "OPENBLAS_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected for *_, expected in CASES.values()]


def test_rendering_goes_on_while_processes_are_started() -> None:
    """Ray starts processes meanwhile; BLAS threads would wait for ever, as large products did."""
    code = """
import os, threading
import numpy as np
from fedtl.data.hospitals import HospitalsOptions, hospitals_dataset

images = hospitals_dataset(0, HospitalsOptions(images=16, test_images=0, size=224)).inputs
renderers = [
    threading.Thread(target=images.load_batch, args=[np.arange(16)], daemon=True) for _ in range(2)
]
for thread in renderers:
    thread.start()
while any(thread.is_alive() for thread in renderers):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
