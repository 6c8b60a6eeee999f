"""Certificates of a server and keys of sites, made by the commands that anyone would type."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from fedtl.errors import FedtlError, UsageError

Told = Callable[[str], None]
"""Told each command before it runs."""

AUTHORITY, CERTIFICATE, SERVER_KEY = "ca.crt", "server.crt", "server.key"

_AUTHORITY = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -sha256 -days 365
-subj "/CN=our federation" -addext basicConstraints=critical,CA:TRUE
-addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt
"""
_REQUEST = """
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -sha256
-subj "/CN=superlink" -addext subjectAltName={names} -addext extendedKeyUsage=serverAuth
-keyout server.key -out server.csr
"""
_CERTIFICATE = """
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -sha256
-copy_extensions copy -out server.crt
"""
_SITE = "ssh-keygen -q -t ecdsa -b 384 -N '' -C {name} -f {name}"


def make_certificates(folder: Path, told: Told, names: str = "DNS:localhost,IP:127.0.0.1") -> None:
    """Make a certificate authority, and a certificate of the server that it signed.

    Args:
        folder: Where they are written: ``ca.crt`` goes to every site, ``ca.key`` nowhere.
        told: Told each command.
        names: How sites call the server; 127.0.0.1 too, for what the server itself starts.

    Raises:
        FedtlError: A command failed.
        UsageError: openssl is not installed.
    """
    for command in (_AUTHORITY, _REQUEST.format(names=names), _CERTIFICATE):
        _run(command, folder, told)


def make_key(folder: Path, name: str, told: Told) -> Path:
    """Make the key with which a site proves itself; return it; ``name.pub`` lies beside it.

    Raises:
        FedtlError: The command failed.
        UsageError: ssh-keygen is not installed.
    """
    _run(_SITE.format(name=shlex.quote(name)), folder, told)
    return folder / name


def _run(command: str, folder: Path, told: Told) -> None:
    words = shlex.split(command)
    told(shlex.join(words))
    if shutil.which(words[0]) is None:
        raise UsageError(f"{words[0]} is needed to make keys but is not installed; install it.")
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise FedtlError(f"{' '.join(words[:2])} failed: {lines[-1]}; try the command on its own.")
