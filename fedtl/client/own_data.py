"""A site that brings its own data: what it makes of a message before anything else happens.

Whether a client is such a site is decided by what runs it and by its node config, never by what
the server sends. A client is simulated only if its node config names no data *and* either says
``simulated = true`` or is what Flower's simulation gives its clients, inside Ray. Everything else
is a real site, and one that forgot to name its data is refused, not lent to the server.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Error, Message

from fedtl.client.limits import Answer, answer_within, size_of
from fedtl.client.policy import NodeConfigError, RefusedError, SitePolicy
from fedtl.client.private_files import OpenFilesError, close_to_others, private
from fedtl.config import RunConfig
from fedtl.errors import FedtlError
from fedtl.messages import phases
from fedtl.messages.failure_codes import DROPPED_OUT, FAILED, REFUSED, SENTENCES
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
        raise NodeConfigError(f"simulated = {said!r} in this site's node config is no true, false.")
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


def configuration_here(context: Context) -> RunConfig:
    """Return the configuration that holds at a site with data of its own.

    Raises:
        RefusedError: The run asks what this site does not agree to.
        NodeConfigError: The site's own settings are wrong.
    """
    return SitePolicy.of(context.node_config).configuration(context.run_config)


def answer_at_site(message: Message, context: Context, answer: Answer) -> Message:
    """Return what a site with data of its own replies.

    Args:
        message: What the server asks.
        context: The site's node config and state, and what the server sent as configuration.
        answer: Answers a message that the site has nothing against.
    """
    try:
        policy = SitePolicy.of(context.node_config)
        config = policy.configuration(context.run_config)
        asked = size_of(message.content)
        if asked > policy.most_bytes:
            raise RefusedError(_too_large("the message", asked, policy))
        with private():
            cache = cache_folder(config)
            if cache is not None:
                close_to_others(cache)
            first = message.metadata.message_type == phases.HANDSHAKE
            seconds = None if first else policy.most_seconds
            reply = answer_within(seconds, answer, message, context)
        if reply is None:
            raise RefusedError(
                f"This site stopped after {policy.most_seconds:g} s (most-seconds of its node "
                "config); ask for less work in a round."
            )
        if reply.has_content() and (sent := size_of(reply.content)) > policy.most_bytes:
            raise RefusedError(_too_large("the reply", sent, policy))
    except (RefusedError, NodeConfigError, OpenFilesError) as error:
        return refusal(message, error)
    except Exception:  # whatever it says may name what is the site's own
        _logger.exception("the answer to a message failed")
        return Message(Error(FAILED, SENTENCES[FAILED]), reply_to=message)
    # That a scenario which this site allowed has it drop out is nobody's secret.
    if reply.has_error() and reply.error.code != DROPPED_OUT:
        _logger.error("%s", reply.error.reason)
        code = reply.error.code if reply.error.code in SENTENCES else FAILED
        return Message(Error(code, SENTENCES[code]), reply_to=message)
    return reply


def refusal(message: Message, error: FedtlError) -> Message:
    """Return the reply of a site that refuses; the server learns nothing of the site from it."""
    _logger.error("%s", error)
    told = "This site's own settings are wrong; its log says how"
    if isinstance(error, RefusedError):
        told = one_line(error).rstrip(".")
    return Message(Error(REFUSED, told), reply_to=message)


def _too_large(what: str, size: int, policy: SitePolicy) -> str:
    return (
        f"This site refuses {what} of {size / 1e6:,.1f} MB: it is above "
        f"{policy.most_bytes / 1e6:g} MB (most-megabytes of its node config)."
    )
