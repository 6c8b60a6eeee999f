"""``python -m fedtl.export``: a finished run's model, to be used without fedtl."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedtl.command_line import leave, run_command
from fedtl.run_flags import MovedWeights, Trusted


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", show_default=False)],
    to: Annotated[
        Literal["torch", "safetensors", "torchscript", "onnx"],
        typer.Option(
            "--to",
            help="The form of the weights: a state dict of PyTorch's or safetensors, loaded into "
            "the network of the library that makes it; TorchScript, loaded with PyTorch alone; "
            "ONNX (extra onnx).",
            metavar="torch | safetensors | torchscript | onnx",
        ),
    ] = "torch",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A folder that is not there yet; by default RUN/export-TO.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    weights: MovedWeights = None,
    trust: Trusted = False,
) -> None:
    """Write the model of a finished run as a plain network that needs no fedtl.

    RUN is the folder of a finished run. The network is that of torchvision, timm or transformers
    with its own classifier replaced by the federated head. Beside the weights lie load_model.py,
    which loads them and classifies files, labels.json, and MODEL_CARD.md, which tells the data,
    the scores, what left each site and the licence of the backbone.
    """
    from fedtl.exported_folder import export

    folder, told = export(run, to, out, trust=trust, weights=weights and weights.expanduser())
    for sentence in told:
        print(f"warning: {sentence}", file=sys.stderr)
    print(folder)


if __name__ == "__main__":
    run_command(main)
    leave()
