"""What all tests share: their order, and what a run would spend time on that few tests look at."""

from __future__ import annotations

import functools
import gc
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import IO, TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from fedtl.collector import collect_seldom
from fedtl.data import image_formats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from fedtl.transfer.lone_head import LoneHead

collect_seldom()
# Processes share the tests and the cores; read when NumPy and torch are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Beyond forty examples no mutant of tests/mutants fell that had not fallen before.
settings.register_profile("forty", settings(), max_examples=40)
settings.load_profile("forty")

# The charts of a run's page and of a comparison's, where they are asked for.
_CHARTS = (
    *("plots.accuracy_by_round", "plots.score_ladder", "heat_maps.label_map"),
    *("client_plots.client_plot", "client_plots.narrow_client_plot"),
    "confusion_section.confusion_map",
)
_DRAWINGS = (
    *("comparison_plots.gains", "comparison_plots.intervals"),
    *("comparison_curves.accuracy_by_round", "comparison_curves.accuracy_by_bytes"),
    "comparison_curves.accuracy_by_value",
)
WRITTEN = "theme.write_figure"
_made: dict[str, Callable[..., object]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ways", default="", help="Ways to run that test_recorded_heads tries.")
    parser.addoption("--record", action="store_true", help="Write the heads' digests down.")


# Begun last, these would be waited for.
_FIRST = ("test_three_ways.py", "test_engine.py", "test_machines.py")


def _place(item: pytest.Item) -> int:
    return _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Leave what was imported out of later searches for garbage: a fifteenth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from whole_files import WholeFiles

    return WholeFiles(config, log)


@pytest.fixture(scope="session", autouse=True)
def _memory_as_on_other_systems() -> Iterator[None]:
    """Ask for this process's peak alone: a walk over its pages takes 20 ms, and tests take 900.

    What Linux tells of a family of processes is tested in test_memory.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtl.engine.memory._PROC", Path("nowhere"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _lone_heads_once() -> Iterator[None]:
    """Solve for the best lone head of the same rows once: three of four were asked for before.

    How it is found is tested in test_lone_head.py and test_left_out.py, which ask for it anew.
    """
    from fedtl.transfer import lone_head

    find = lone_head.best_lone_head
    found: dict[bytes, LoneHead] = {}

    def remembered(
        features: Tensor,
        labels: Tensor,
        classes: int,
        groups: NDArray[np.int64] | None,
        rng: np.random.Generator,
        *,
        leave_out: bool = False,
    ) -> LoneHead:
        chosen = lone_head._best.__name__
        digest = hashlib.sha256(repr((features.shape, classes, leave_out, chosen)).encode())
        digest.update(repr(rng.bit_generator.state).encode())
        for array in (features.numpy(), labels.numpy(), groups):
            digest.update(b"none" if array is None else array.tobytes())
        key = digest.digest()
        if key not in found:
            found[key] = find(features, labels, classes, groups, rng, leave_out=leave_out)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtl.client.alone.best_lone_head", remembered)
        yield


@pytest.fixture(scope="module", autouse=True)
def _unbarred() -> Iterator[None]:
    """Let code run again that a command barred for its process: commands share this one."""
    from fedtl.user_code import unbar

    yield
    unbar()


_choose: list[Callable[..., object]] = []


@contextmanager
def _choosing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for choose in _choose:
            patch.setattr("fedtl.transfer.lone_head._best", choose)
        yield


@pytest.fixture(scope="module", autouse=True)
def _ridge_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have ridge regression be each client's best head alone: choosing costs most of its solving.

    A module that looks at which is chosen, or compares with another process, has ``CHOSEN = True``.
    """
    from fedtl.transfer import lone_head

    def ridge(*rows_and_folds: object) -> lone_head.Candidate:
        return lone_head._CANDIDATES[0]

    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "CHOSEN", False):
            if not _choose:
                _choose.append(lone_head._best)
            patch.setattr("fedtl.transfer.lone_head._best", ridge)
        yield


@pytest.fixture(scope="session", autouse=True)
def _features_once() -> Iterator[None]:
    """Look at the same batch with the same weights once: of three batches one was seen before.

    Another batch, such as the same pictures in another order, is computed as ever.
    """
    import torch

    from fedtl.transfer.tiny import TinyBackbone

    found: dict[bytes, Tensor] = {}
    look = TinyBackbone.forward

    def remembered(self: TinyBackbone, pixels: Tensor) -> Tensor:
        if not torch.is_inference_mode_enabled():
            return look(self, pixels)
        digest = hashlib.sha256(repr((pixels.shape, pixels.dtype, pixels.device)).encode())
        for tensor in (pixels, *self.state_dict().values()):
            digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy())
        key = digest.digest()
        if key not in found:
            found[key] = look(self, pixels)
        return found[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyBackbone, "forward", remembered)
        yield


@pytest.fixture(scope="session", autouse=True)
def _written_without_waiting_for_the_disk() -> Iterator[None]:
    """Leave files to the system: what a power cut would leave is not what tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda descriptor: None)
        yield


@contextmanager
def _drawing(*charts: str) -> Iterator[None]:
    """Draw all charts, or these alone, which are plotted but empty without :data:`WRITTEN`."""
    with pytest.MonkeyPatch.context() as patch:
        for chart in charts or _made:
            patch.setattr(f"fedtl.report.{chart}", _made[chart])
        yield


@pytest.fixture(scope="module", autouse=True)
def undrawn(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """Leave charts out: two thirds of a small run's time, and few tests look at them.

    A module whose tests do has ``DRAWN = True``, or ``PLOTTED = True`` if they look at what is
    plotted in a comparison's but not at how; a test in another has the fixture ``drawn`` or
    ``plotted``. Pages are written all the same, with empty charts.

    Yields:
        What draws them in a ``with`` block: all, or those that are named.
    """
    from markupsafe import Markup

    from fedtl.report.theme import Plot

    empty = Markup('<svg version="1.1" width="1pt" height="1pt"></svg>')

    class Nothing:
        def plot(self, name: str) -> Plot:
            return Plot(empty)

        def files(self) -> dict[str, bytes]:
            return dict.fromkeys(("svg", "pdf"), empty.encode())

    def blank(figure: object, file: IO[Any], *options: object) -> None:
        file.write(empty if isinstance(file, io.TextIOBase) else empty.encode())

    left_out: dict[str, Callable[..., object]] = {
        **dict.fromkeys(_CHARTS, lambda *result, **options: Plot(empty)),
        WRITTEN: blank,
    }
    if not getattr(request.module, "PLOTTED", False):
        left_out |= dict.fromkeys(_DRAWINGS, lambda *result, **options: Nothing())

    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            for chart, instead in left_out.items():
                _made.setdefault(chart, resolve_name(f"fedtl.report.{chart}"))
                patch.setattr(f"fedtl.report.{chart}", instead)
        yield _drawing


@pytest.fixture
def drawn(undrawn: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """Draw the charts of one test."""
    with undrawn():
        yield


@pytest.fixture
def plotted(undrawn: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """Plot what a comparison's charts show in one test."""
    with undrawn(*_DRAWINGS):
        yield


@pytest.fixture(scope="session")
def warm_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have Python start with all imported if a raylet starts it; the path stands for Python's."""
    from warm_python import warm_commands

    with warm_commands(tmp_path_factory.mktemp("ray"), os.environ) as warm:
        yield warm / "python"


@pytest.fixture(scope="session")
def shared_ray(warm_worker: Path) -> Iterator[None]:
    """Have one Ray on this machine for all that needs one in this process from now on.

    Its start takes seconds, and is tested in test_ray_start.py and test_machines.py. Actors are
    started anew. Who joins a cluster leaves it, and Ray is started again for the next who needs it.
    """
    import ray
    from warm_python import ray_head_script

    from fedtl.engine import ray_head, ray_session
    from fedtl.engine.resources import Resources

    start, stop = ray_session.start_ray, ray_session.stop_ray
    clusters: list[str] = []

    def started(address: str, resources: Resources, **shares: Any) -> int:
        if address:
            clusters.append(address)
        elif ray.is_initialized():
            return ray_session.actor_count(resources, **shares)
        return start(address, resources, **shares)

    def stopped() -> None:
        if clusters:
            stop()
            clusters.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_head, "_PROCESS", ray_head_script(warm_worker.parent))
        patch.setattr(ray_session, "start_ray", started)
        patch.setattr(ray_session, "stop_ray", stopped)
        patch.setattr(ray_session, "end_processes", lambda: None)
        patch.setattr(ray_session, "end_unanswered", lambda: None)
        started("", Resources(2.0, 0.0), clients=2, client_cpus=1.0, client_gpus=0.0)
        yield
        stop()


@pytest.fixture(scope="session")
def unequal_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return :func:`unequal_run.run_of` with some flags; what was run before is not run again."""
    from unequal_run import run_of

    @functools.cache
    def run(*flags: object) -> object:
        with _drawing(), _choosing():
            return run_of(tmp_path_factory.mktemp("unequal"), *flags)

    return run


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither pydicom nor pillow-heif."""
    suffixes = image_formats.picture_suffixes() - image_formats._DICOM_SUFFIXES
    suffixes -= image_formats._HEIF_SUFFIXES
    for module in ("image_formats", "left_aside"):
        monkeypatch.setattr(f"fedtl.data.{module}.picture_suffixes", lambda: suffixes)
    monkeypatch.setattr("fedtl.data.image_formats.has_dicom", lambda: False)
