"""A file of weights, read without running anything in it; a file of another kind is named."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedtl.data.budget import check_zip_directory, most_unpacked
from fedtl.errors import FedtlError, UsageError, first_line
from fedtl.foreign_content import HEAD_BYTES, foreign_file

# What training scripts keep beside weights: settings, counters, dates, numbers of NumPy's.
# Stand-ins take their place, which hold nothing and do nothing.
_HARMLESS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|builtins\.(list|dict|tuple|int|float|str|bool|slice)"
    r"|collections\.deque|copyreg\._reconstructor|builtins\.object"
    r"|datetime\.\w+|pathlib(\._local)?\.\w*Path|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|numpy(\._?core\.(multiarray|numeric)|\.dtypes|\.random\.\w+)?\.\w+"
    r"|omegaconf\.[\w.]+|typing\.\w+|enum\.\w+"
    r"|(pytorch_)?lightning(_fabric|\.fabric|\.pytorch)?\.[\w.]+"
    r"|(timm|torchmetrics|transformers|fastcore|fvcore|detectron2|mmengine|mmcv)\.[\w.]+"
    r"|torch\.optim\.[\w.]+|torch\.torch_version\.TorchVersion"
)
_DICTIONARIES = re.compile(
    r"collections\.defaultdict|easydict\.EasyDict|addict\.(addict\.)?Dict|yacs\.config\.CfgNode"
    r"|munch\.Munch|box\.box\.Box|ml_collections\.[\w.]*ConfigDict|[\w.]*\.AttributeDict"
    r"|[\w.]*\.(AttrDict|CfgNode|ConfigDict)"
)
_REFUSED = re.compile(r"GLOBAL ([\w.]+) w")
# Each name that is not known before costs one reading.
_MOST_NAMES = 100
_MOST_ENTRIES = 100_000

# What people have in place of weights, and its first bytes do not tell.
_OTHER_SUFFIXES = {
    ".onnx": "an ONNX file",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite file",
}
_OF_PYTORCH = (b"PK", b"\x80")
_PACKED = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors")
_CHUNK = 1 << 20
_ADVICE = "save the weights with torch.save(model.state_dict(), FILE) or as .safetensors"


class _Beside:
    """Stands for what is kept beside weights."""

    def __new__(cls, *_: object, **__: object) -> _Beside:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Dictionary:
    """Stands for dictionaries of kinds of their own; it makes plain ones."""

    def __new__(cls, *_: object, **__: object) -> Any:
        return OrderedDict()


def read_checkpoint(path: Path) -> Any:
    """Return what a PyTorch or safetensors file holds, on the CPU, whatever its suffix.

    A PyTorch file is unpickled with ``weights_only=True``, so that no code in it is run; some
    classes that training scripts keep beside weights are replaced by stand-ins.

    Raises:
        UsageError: The file does not exist, or is no file of weights that can be read so.
        FedtlError: It cannot be read.
    """
    if path.is_dir():
        raise UsageError(f"The weights file {path} is a folder: name the file in it.")
    if not path.is_file():
        raise UsageError(
            f"The weights file {path} does not exist: give the path of a .safetensors, .pth or .pt "
            "file."
        )
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise FedtlError(f"The weights file {path} cannot be read: {error}.") from error
    if what := _something_else(head, path.suffix.lower()):
        raise UsageError(f"The weights file {path} holds no weights, but is {what}.")
    # A safetensors file begins with the length of its header, which is JSON.
    named = path.suffix.lower() == ".safetensors" and not head.startswith(_OF_PYTORCH)
    if named or head[8:9] == b"{":
        return _read_safetensors(path)
    return _read_pickle(path, head)


def _something_else(head: bytes, suffix: str) -> str:
    """Return what a file is that cannot hold weights; empty if it can."""
    known = "" if head.startswith(_OF_PYTORCH) else _OTHER_SUFFIXES.get(suffix, "")
    return foreign_file(head) or (known and f"{known}: {_ADVICE}")


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        cut = "incomplete" in str(error).lower() or "larger" in str(error).lower()
        damage = " (it is damaged or cut short: download or copy it again)" if cut else ""
        raise UsageError(
            f"The weights file {path} is not a safetensors file: {error}{damage}."
        ) from error


def _read_pickle(path: Path, head: bytes) -> Any:
    if head.startswith(b"PK") and (what := _other_zip(path)):
        raise UsageError(f"The weights file {path} {what}.")
    allowed: dict[str, Any] = {}
    for _ in range(_MOST_NAMES):
        stand_ins: list[Any] = [(made, name) for name, made in allowed.items()]
        try:
            # By a path, PyTorch would go by its suffix.
            with torch.serialization.safe_globals(stand_ins), path.open("rb") as file:
                return _bounded(torch.load(file, map_location="cpu", weights_only=True), path)
        except UsageError:
            raise
        except OSError as error:
            raise FedtlError(f"The weights file {path} cannot be read: {error}.") from error
        # What is built of stand-ins, or of broken bytes, fails in ways of every kind.
        except Exception as error:
            refused = _REFUSED.search(str(error))
            name = _full_name(refused[1]) if refused else ""
            if not name or name in allowed or (made := _stand_in(name)) is None:
                raise UsageError(_why_not(path, head, name, error)) from error
            allowed[name] = made
    raise UsageError(f"The weights file {path} holds too much beside weights: {_ADVICE}.")


def _bounded(content: Any, path: Path) -> Any:
    """Return what was unpickled, if walking through it ends and its tensors are what they hold.

    Raises:
        UsageError: It refers to itself over and over, or a tensor repeats a few numbers for ever.
    """
    waiting, seen = [content], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        if seen > _MOST_ENTRIES:
            raise UsageError(
                f"The weights file {path} holds more than {_MOST_ENTRIES:,} entries: {_ADVICE}."
            )
        if isinstance(one, torch.Tensor):
            strided = one.layout == torch.strided and one.device.type == "cpu"
            if strided and one.numel() * one.element_size() > one.untyped_storage().nbytes():
                raise UsageError(
                    f"The weights file {path} holds a tensor of shape {tuple(one.shape)} that "
                    "repeats fewer numbers than that: save it with .contiguous()."
                )
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
    return content


def _other_zip(path: Path) -> str:
    """Return what is wrong with a zip that PyTorch has not written whole; empty if nothing is."""
    if not zipfile.is_zipfile(path):
        return "is damaged: it begins as PyTorch writes and is cut short; download or copy it again"
    check_zip_directory(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        total = sum(member.file_size for member in archive.infolist())
        if total > most_unpacked(path.stat().st_size):
            return "says that it unpacks to far more than its size, which no weights do"
        rotten = _rotten(archive)
    if rotten:
        return f"is damaged (the checksum of {rotten} differs): download or copy it again"
    if any(name.endswith(".npy") for name in names):
        return f"holds no weights, but is a .npz of arrays: {_ADVICE}"
    if any(name.endswith("/archive_format") for name in names):
        return "is a program of torch.export, which would be run: save its state_dict() instead"
    if not any(name.endswith("data.pkl") for name in names):
        packed = [name for name in names if name.lower().endswith(_PACKED)]
        what = f"a zip archive of {packed[0]}: unpack it" if packed else f"a zip archive: {_ADVICE}"
        return f"holds no weights, but is {what}"
    if any(name.endswith("constants.pkl") for name in names):
        return "is a TorchScript program, which would be run: save its state_dict() instead"
    return ""


def _rotten(archive: zipfile.ZipFile) -> str:
    """Return the first member whose bytes differ from its checksum; empty if none does.

    PyTorch does not look at checksums, and may leave them out and write zeros instead.
    """
    for member in archive.infolist():
        if member.CRC:
            try:
                with archive.open(member) as file:
                    while file.read(_CHUNK):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
                return member.filename
    return ""


def _full_name(name: str) -> str:
    """Return a name as it is allowed; PyTorch tells those of ``builtins`` without it."""
    return name if "." in name else f"builtins.{name}"


def _stand_in(name: str) -> Any:
    if _DICTIONARIES.fullmatch(name):
        return _Dictionary
    return _Beside if _HARMLESS.fullmatch(name) else None


def _why_not(path: Path, head: bytes, name: str, error: Exception) -> str:
    if name:
        return (
            f"The weights file {path} is not a PyTorch state dict that can be read without running "
            f"code: it holds a {name}; {_ADVICE}."
        )
    if isinstance(error, pickle.UnpicklingError) and head.startswith(_OF_PYTORCH):
        return (
            f"The weights file {path} is not a PyTorch state dict that can be read without running "
            f"code, or is damaged: {_ADVICE}, or download it again."
        )
    if head.startswith(_OF_PYTORCH):
        return (
            f"The weights file {path} is damaged or cut short "
            f"({first_line(error).rstrip('.')}): download or copy it again."
        )
    return f"The weights file {path} is not a PyTorch state dict: {_ADVICE}."
