"""A real site: how it handles a message before anything else happens.

Whether a client is such a site is decided by what runs it and by its node config, never by what
the server sends. A client is simulated only if its node config names no data *and* either says
``simulated = true`` or is what Flower's simulation gives its clients, inside Ray. Everything else
is a real site; if its node config names no data, it refuses, so that the server cannot choose the
data.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flwr.app import Context, Message, RecordDict

from fedtl.client.answers import answer
from fedtl.client.ledger import Ledger, LedgerError
from fedtl.client.limits import answer_within
from fedtl.client.node_config import NodeConfigError
from fedtl.client.own_site import prepare_own
from fedtl.client.policy import RefusedError, SitePolicy, configuration_here
from fedtl.client.private_files import OpenFilesError, close_to_others, private
from fedtl.client.release import without_content
from fedtl.client.site_store import kept_site
from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.messages import phases
from fedtl.messages.failure_codes import FAILED, NOT_ENTERED, REFUSED, SENTENCES
from fedtl.privacy.forms import one_line
from fedtl.transfer.cache_folder import cache_folder

_logger = logging.getLogger(__name__)

_SIMULATIONS_KEYS = frozenset({"partition-id", "num-partitions"})


def is_simulated(node_config: Mapping[str, Any]) -> bool:
    """Return whether a client is simulated, so that the run may say which data it has.

    Raises:
        NodeConfigError: The node config names no data, but this is no simulation; or it says both.
    """
    said = node_config.get("simulated", False)
    if not isinstance(said, bool):
        raise NodeConfigError(
            f"simulated = {said!r} in this site's node config is neither true nor false."
        )
    if "data" in node_config:
        if said:
            raise NodeConfigError(
                "The node config says simulated = true and names data; leave one of them out."
            )
        return False
    if said or (node_config.keys() <= _SIMULATIONS_KEYS and _in_ray()):
        return True
    raise NodeConfigError(
        "The node config names no data; start the SuperNode with --node-config \"data='FOLDER' "
        '…", or, to let a run say which files of this machine are read, with "simulated=true …".'
    )


def _in_ray() -> bool:
    """Return whether this is a process of Ray, in which Flower's simulation runs its clients."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def answer_at_site(message: Message, context: Context) -> Message:
    """Return the reply of a real site.

    The layers are: the site's policy, training, release, and the ledger around all of them.

    Args:
        message: What the server asks.
        context: The site's node config and state, and what the server sent as configuration.
    """
    return _entered(message, context, lambda: _by_policy(message, context))


def refuse_at_site(message: Message, context: Context, error: FedtlError) -> Message:
    """Return the reply of a site whose settings do not let it take part."""
    return _entered(message, context, lambda: _refusal(message, error))


def _entered(message: Message, context: Context, answered: Callable[[], Message]) -> Message:
    """Return an answer once the site's ledger lists what came in and what will leave.

    A site whose ledger cannot be written answers so, and remembers nothing of the message.
    """
    state = RecordDict(dict(context.state))
    try:
        with private():
            ledger = Ledger.of(context.node_config, context.run_id)
            ledger.enter_down(message)
            reply = answered()
            ledger.enter_up(message, reply)
            return reply
    except LedgerError as error:
        _logger.error("%s", error)
    except Exception:
        _logger.exception("the ledger of this site failed")
    context.state = state
    return without_content(message, NOT_ENTERED, SENTENCES[NOT_ENTERED])


def _by_policy(message: Message, context: Context) -> Message:
    """Return the answer that the site's policy allows; details of failures stay at the site."""
    state = RecordDict(dict(context.state))
    try:
        policy = SitePolicy.of(context.node_config)
        config = configuration_here(context)
        policy.check_size("the message", message.content)
        cache = cache_folder(config)
        if cache is not None:
            close_to_others(cache)
        first = message.metadata.message_type == phases.HANDSHAKE
        seconds = None if first else policy.most_seconds
        reply = answer_within(seconds, partial(_answer, config), message, context)
        if reply is None:
            raise RefusedError(
                f"This site stopped after {policy.most_seconds:g} s (most-seconds of its node "
                "config); ask for less work in a round."
            )
        if reply.has_content():
            policy.check_size("the reply", reply.content)
    except (RefusedError, NodeConfigError, OpenFilesError) as error:
        context.state = state
        return _refusal(message, error)
    except Exception:  # whatever it says may name what is the site's own
        _logger.exception("the answer to a message failed")
        return without_content(message, FAILED, SENTENCES[FAILED])
    if reply.has_error():
        _logger.error("%s", reply.error.reason)
        code = reply.error.code if reply.error.code in SENTENCES else FAILED
        return without_content(message, code, SENTENCES[code])
    return reply


def _answer(config: RunConfig, message: Message, context: Context) -> Message:
    """Return the answer from the site's data, without a scenario's layer."""
    opened = partial(kept_site, config, prepare_own)
    return answer([message], [context], config=config, open_site=opened)[0]


def _refusal(message: Message, error: FedtlError) -> Message:
    """Return the reply of a site that refuses; it tells the server nothing about the site."""
    _logger.error("%s", error)
    told = "This site's own settings are wrong; its log says how"
    if isinstance(error, RefusedError):
        told = one_line(error).rstrip(".")
    return without_content(message, REFUSED, told)
