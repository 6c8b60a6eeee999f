"""The result of a run: from its own process, or from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtl.data.input_kinds import PICTURE
from fedtl.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from fedtl.config import RunConfig
    from fedtl.federation.classifier import Classifier
    from fedtl.federation.round_row import Round
    from fedtl.results.detail import RunDetail
    from fedtl.transfer.head_file import TrainedHead
    from fedtl.transfer.modules import HeadModule

# A long run with drop-outs names each of them.
_MOST_SUMMARY_BYTES = 2**28
# Columns of clients.csv that are words.
_TEXTS = ("name", "local_only_method")
_WAYS = {"local_only": "local-only", "zero_shot": "zero-shot"}


@dataclass(frozen=True, eq=False, repr=False)
class RunResult:
    """The result of a run, for every way to run.

    Attributes:
        config: The run's configuration.
        figures: What ``summary.json`` holds; :func:`fedtl.results.summary.run_summary` says it.
        history: Its rounds.
        warnings: What went wrong and was survived, one sentence each.
        trained: The global head; ``None`` if every client has its own.
        path: Its folder; ``None`` for a run without one.
        detail: What only the run's own process knows; ``None`` if it was read from a
            folder.
    """

    config: RunConfig
    figures: Mapping[str, Any]
    history: tuple[Round, ...]
    warnings: tuple[str, ...]
    trained: TrainedHead | None
    path: Path | None = None
    detail: RunDetail | None = None

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> RunResult:
        """Return the result in the folder of a finished run.

        The run's own warnings are in its report; ``warnings`` are about reading the folder.

        Args:
            folder: The folder, such as ``"runs/2026-11-02-091500-hospitals"``.
            trust: Whether a class that the folder names may run, wherever its code lies.

        Raises:
            UsageError: It is not a run folder, or the run is not finished.
            FedtlError: A file is damaged, or belongs to another run.
        """
        from fedtl.federation.checked_head import checked_head
        from fedtl.federation.foreign_folder import read_run
        from fedtl.federation.round_row import Round
        from fedtl.json_file import parse_json, read_json

        path = Path(folder).expanduser()
        config, identity = read_run(Path(folder), trust=trust, remedy="give trust=True")
        if not (path / "summary.json").is_file():
            raise UsageError(
                f"The run in {folder} is not finished; finish it with "
                f"python -m fedtl.simulate --resume {folder}"
            )
        figures = read_json(path / "summary.json", _MOST_SUMMARY_BYTES)
        trained: TrainedHead | None = None
        doubts: list[str] = []
        if (path / "head.safetensors").is_file():
            trained, doubts = checked_head(path, identity)
        lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        history = [Round.from_mapping(parse_json(line, "metrics.jsonl")) for line in lines]
        return cls(config, figures, tuple(history), tuple(doubts), trained, path)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Scores of each way of learning: a row each, local-only first.

        Columns: ``accuracy`` on clients' own data, a fraction, with its 95 % interval (``low``,
        ``high``), ``balanced_accuracy``, ``mean_client_accuracy``, ``worst_client_accuracy`` and
        ``macro_auroc``; ``new_data`` with ``new_data_low`` and ``new_data_high`` is the accuracy on
        the test split. Missing values are NaN.
        """
        import pandas as pd

        new = self.figures["on_new_data"] or {}
        rows = {}
        for way in ("local_only", "zero_shot", "federated", "corrected", "personal", "centralised"):
            own, other = self.figures.get(way), new.get(way) or {}
            if own is None:
                continue
            rows[way] = {
                "accuracy": own["accuracy"],
                "low": own["accuracy_low"],
                "high": own["accuracy_high"],
                "balanced_accuracy": own["balanced_accuracy"],
                "mean_client_accuracy": own["mean_client_accuracy"],
                "worst_client_accuracy": own["worst_client_accuracy"],
                "macro_auroc": (own.get("metrics") or {}).get("macro_auroc"),
                "new_data": other.get("accuracy"),
                "new_data_low": other.get("accuracy_low"),
                "new_data_high": other.get("accuracy_high"),
            }
        return pd.DataFrame.from_dict(rows, orient="index").astype(float)

    @cached_property
    def clients(self) -> pd.DataFrame:
        """Scores of each client: the table ``clients.csv``, a row each, by partition id."""
        import pandas as pd

        from fedtl.csv_cells import read_table
        from fedtl.results.tables import clients_csv

        if self.detail is not None:
            text = clients_csv(self.detail)
        else:
            assert self.path is not None
            text = (self.path / "clients.csv").read_bytes().decode()
        table = pd.DataFrame(read_table(text)).set_index("client")
        table.index = table.index.astype(int)
        for column in table.columns:
            if column == "harmed":
                table[column] = table[column] == "yes"
            elif column not in _TEXTS and not column.endswith("_verdict"):
                table[column] = pd.to_numeric(table[column])
        return table

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row for each round, by its number, with ``failed`` as a count."""
        import pandas as pd

        from fedtl.federation.round_row import Round

        rows = [{**row.to_mapping(), "failed": len(row.failed)} for row in self.history]
        return pd.DataFrame(rows, columns=[one.name for one in fields(Round)]).set_index("round")

    @cached_property
    def head(self) -> HeadModule:
        """The global head: takes features, shape ``(n, d)``, as the backbone gives them.

        Raises:
            UsageError: The strategy gives every client a head of its own, and no global one.
        """
        from fedtl.transfer.modules import HeadModule

        classifier = self._classifier()
        form = classifier.form(classifier.feature_size)
        tempered = classifier.measure == "probability"
        return HeadModule(form, classifier.trained, tempered=tempered).eval()

    def model(self) -> nn.Module:
        """Return the whole network in plain form: as ``python -m fedtl.export --to torch`` has it.

        A torchvision or timm network is that library's own class, its classifier replaced by the
        head; any other is a module with the parts ``backbone`` and ``head``. It returns logits,
        divided by the head's temperature, where their softmax are probabilities, and else scores.
        Two attributes are no part of its weights: ``classes``, the names in the order of the
        outputs, and ``preprocess``, which makes of a picture, ``(height, width, 3)``, RGB, uint8,
        the tensor ``(3, side, side)``, and of a text or recording all tensors of a batch of one.

        Raises:
            UsageError: There is no global head, or the run was trained on embeddings.
            FedtlError: The backbone is not available, or differs from the run's.
        """
        from fedtl.plain_models.plain_model import plain_model

        classifier = self._classifier()
        if classifier.takes_embeddings:
            raise UsageError(
                "The run was trained on precomputed features, so there is no backbone; use head, "
                "which takes features."
            )
        found = plain_model(classifier)
        assert found.backbone is not None
        backbone, pictures = found.backbone, found.kind == PICTURE
        preprocess = backbone.preprocess if pictures else backbone.batch_of
        vars(found.module).update(classes=found.classes, preprocess=preprocess)
        return found.module

    def report(self, path: str | Path) -> Path:
        """Write the run's page to a file; return that file.

        Raises:
            UsageError: The run left no page.
            UnwrittenError: The file cannot be written.
        """
        from fedtl.whole_file import write_atomically

        page = None if self.path is None else self.path / "report.html"
        if page is None or not page.is_file():
            raise UsageError("The run left no report.html, so there is no page to write.")
        target = Path(path).expanduser()
        write_atomically(target, page.read_bytes())
        return target

    def _classifier(self) -> Classifier:
        from fedtl.federation.classifier import Classifier

        if self.trained is None:
            raise UsageError(
                f"strategy = {self.config.strategy!r} gives every client a head of its own, which "
                "stays with the client, so there is no global head."
            )
        return Classifier(self.path or Path(), self.config, self.trained)

    def __repr__(self) -> str:
        where = "" if self.path is None else f", {self.path}"
        told = f"{self.config.strategy}, {self.figures['clients']} clients"
        return f"RunResult({told}, {len(self.history)} rounds{where})"

    def _repr_html_(self) -> str:
        """Return both tables for a notebook."""
        ways = self.summary.rename(index=_WAYS)
        columns = ["name", "examples", "held_out", "local_only_accuracy", "federated_accuracy"]
        columns += ["federated_gain", "federated_verdict", "personal_accuracy", "personal_verdict"]
        clients = self.clients[[name for name in columns if name in self.clients]]
        where = "" if self.path is None else f"<p>{escape(str(self.path))}</p>"
        parts = [one.to_html(float_format="{:.3f}".format, na_rep="–") for one in (ways, clients)]
        return where + "".join(parts)
