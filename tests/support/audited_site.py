"""A site's process that a server on loopback talks to, and that tells all it did to answer.

    python audited_site.py PORT NODE_CONFIG

The server sends lines of JSON, each a message's kind and a run's configuration; the site answers
with the reply's error, if it is one, each event that ``sys.addaudithook`` saw meanwhile, and the
package's modules that are loaded.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedtl.engine.flower_internals import assume_server_identity
from simulations.client_app import app

_NOTHING_OUTSIDE = {"object.__getattr__", "object.__setattr__", "sys._getframe", "code.__new__"}


def main() -> None:
    """Answer until the server hangs up."""
    port, node_config = int(sys.argv[1]), json.loads(sys.argv[2])
    assume_server_identity()
    seen: list[str] | None = None

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        if seen is not None and event not in _NOTHING_OUTSIDE:
            seen.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(see)
    with socket.create_connection(("127.0.0.1", port)) as server, server.makefile("rw") as lines:
        for line in lines:
            kind, run = json.loads(line)
            content = RecordDict({"config": ConfigRecord({"server-round": 1})})
            message = Message(content, dst_node_id=5, message_type=kind)
            context = Context(1, 5, dict(node_config), RecordDict(), run)
            seen = []
            reply = app(message, context)
            events, seen = seen, None
            told = reply.error.reason if reply.has_error() else None
            loaded = [name for name in sys.modules if name.startswith("fedtl.")]
            lines.write(json.dumps([told, events, loaded]) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
