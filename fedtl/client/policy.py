"""What a server's configuration may decide at a real site: the site's first layer.

Only the site's node config decides that, before the site reads or imports anything, or writes more
than its own ledger, because of what the server sent. No other file of this package reads
the configuration of a run; a policy file of a site's own takes this module's place later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flwr.app import Context, RecordDict

from fedtl.client.limits import size_of
from fedtl.client.node_config import (
    DOWNLOADS,
    FEWEST,
    HERE,
    LIMITS,
    NODE_KEYS,
    OWN_CLASS,
    SITE_KEYS,
    NodeConfigError,
    allowed_words,
    impossible,
    limit,
    only_of_source,
)
from fedtl.client.own_word import OWN_WORD, own_words
from fedtl.client.run_keys import EPOCHS, FOLLOWED, REASONS, SERVERS_OWN
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, options_set, spelt
from fedtl.config_key import nearest
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.kinds import CHOOSING_KEYS, KINDS, NO_PART, NO_STARTER, kind_of, names_class
from fedtl.known_options import Known, shipped_options
from fedtl.privacy.forms import shown

# What rests on fewer training examples of a class does not leave a site that says nothing else.
_FEWEST_BY_DEFAULT = 5

# Listed as this module is imported, so that no message has a folder read.
_INSTALLED = {key: frozenset(kind.available()) for key, kind in KINDS.items()}
_OPTIONS = shipped_options()
_PLURALS = {
    "data": "sources",
    "partition": "partitions",
    "backbone": "backbones",
    "head": "heads",
    "strategy": "strategies",
}
_SHIPPED_BACKBONE = "fedtl-tiny"
_DOWNLOADING = ("download",)


class RefusedError(UsageError):
    """A site refuses what a run's configuration asks; the message names the keys."""


class _Against(NamedTuple):
    """What is refused, why, and the word of ``allow`` with which a site can accept it."""

    what: str
    why: str
    allow: str = ""


@dataclass(frozen=True)
class SitePolicy:
    """What one site agrees to.

    Attributes:
        own: What the site sets for itself, which overrides what a run says.
        allowed: What a run may ask here besides what all sites follow.
        most_epochs: Epochs of one message.
        most_seconds: Seconds for one message; the first, which reads the data, may take longer.
        most_bytes: Bytes of one message, either way.
    """

    own: Mapping[str, Any]
    allowed: frozenset[str] = frozenset()
    most_epochs: int = LIMITS["most-epochs"]
    most_seconds: float = LIMITS["most-seconds"]
    most_bytes: int = LIMITS["most-megabytes"] * 10**6

    @classmethod
    def of(cls, node_config: Mapping[str, Any]) -> SitePolicy:
        """Return what a node config says.

        Raises:
            NodeConfigError: It has an unknown key, or a value of the wrong kind.
        """
        for key in node_config:
            if key not in NODE_KEYS:
                raise NodeConfigError(
                    f"Unknown key {key!r} in this site's node config{nearest(key, NODE_KEYS)}"
                )
        limits = {key: limit(key, node_config.get(key, low)) for key, low in LIMITS.items()}
        return cls(
            own={key: node_config[key] for key in SITE_KEYS if key in node_config},
            allowed=allowed_words(node_config.get("allow", "")),
            most_epochs=int(limits["most-epochs"]),
            most_seconds=limits["most-seconds"],
            most_bytes=int(limits["most-megabytes"] * 10**6),
        )

    def configuration(self, run_config: Mapping[str, Any]) -> RunConfig:
        """Return a run's configuration as it applies at this site.

        It holds what the site follows and its own settings; all other keys keep their defaults,
        whatever the run says. A run may ask for more examples of a class than the site does, not
        for fewer.

        Raises:
            RefusedError: The run asks for what this site does not accept; every such key is named.
            NodeConfigError: The site's own settings are wrong.
        """
        asked = _asked(run_config)
        against = [found for key in sorted(asked) if (found := self._against(key, asked[key]))]
        if against := against or self._against_downloads(asked):
            raise RefusedError(_refused(against))
        followed = {key: value for key, value in asked.items() if key not in SERVERS_OWN}
        try:
            config = from_mapping(followed, where="the run's configuration")
        except UsageError as error:
            raise RefusedError(f"This site cannot follow the run: {error}") from None
        try:
            here = from_mapping(self.own, where=HERE, base=config).settled()
            only_of_source(self.own, here)
        except UsageError as error:
            raise NodeConfigError(str(error)) from None
        if here.local_epochs > self.most_epochs:
            raise RefusedError(_refused([_too_many_epochs("local-epochs", self.most_epochs)]))
        own = here.min_examples_per_class if FEWEST in self.own else _FEWEST_BY_DEFAULT
        return here.replace(min_examples_per_class=max(config.min_examples_per_class, own))

    def check_size(self, what: str, content: RecordDict) -> None:
        """Hold a message against ``most_bytes``.

        Raises:
            RefusedError: It is larger.
        """
        if (size := size_of(content)) > self.most_bytes:
            raise RefusedError(
                f"This site refuses {what} of {size / 1e6:,.1f} MB: it is above "
                f"{self.most_bytes / 1e6:g} MB (most-megabytes of its node config)."
            )

    def _against(self, key: str, value: Any) -> _Against | None:
        """Return why the site refuses one key; ``None`` if it accepts it."""
        if chooser := impossible(key):
            return _Against(key, REASONS[chooser])
        if key == "set":
            return self._against_set(value)
        if key in _OPTIONS:
            return self._against_option(key, value, _OPTIONS[key])
        if key not in rules():
            return _Against(shown(key), "its fedtl has no such key")
        if key == "weights" and key in self.own:
            return None  # the site's own are read, which have to be the same by their fingerprint
        if key not in FOLLOWED and key not in SERVERS_OWN and key not in self.allowed:
            why = REASONS.get(key, "it is not among the keys that a run may set at a site")
            return _Against(key, why, key)
        chooses = key in CHOOSING_KEYS and key not in SERVERS_OWN
        if chooses and (against := self._against_part(key, value)):
            return against
        bound = self.most_epochs if key in EPOCHS else FOLLOWED.get(key)
        if bound is not None and not _at_most(value, bound):
            if key in EPOCHS:
                return _too_many_epochs(key, self.most_epochs)
            return _Against(f"{key} above {bound:g}", "that is the most at every site")
        return None

    def _against_part(self, key: str, value: Any) -> _Against | None:
        """Return why the site refuses a part: only installed code may run."""
        kind = kind_of(key)
        if key == "backbone" and key in self.own:
            return None  # the site's own, which has to be the same network by its fingerprint
        if key == "backbone" and str(value).partition(":")[0] in kind.with_argument:
            why = "which folder or network that is, a site says itself: backbone of its node config"
            return _Against(f"backbone = {shown(str(value))}", why)
        if isinstance(value, str) and names_class(key, value):
            why = f"only {_PLURALS[kind.key]} of the package that is installed here run"
            allowed = OWN_CLASS in self.allowed
            return None if allowed else _Against(f"{key} = {OWN_CLASS}", why, OWN_CLASS)
        if kind.otherwise or value in _INSTALLED[kind.key] or value == NO_PART.get(key):
            return None
        if key == "init" and value in NO_STARTER:
            return None
        if str(value).partition(":")[0] in kind.with_argument:
            return None
        return _Against(key, f"it names no {kind.key} of the package that is installed here")

    def _against_set(self, value: Any) -> _Against | None:
        """Return why the site refuses options of classes of a user's own, or others among them."""
        if OWN_CLASS not in self.allowed:
            return _Against("set", "it is for classes that are not installed here", OWN_CLASS)
        try:
            among = [
                self._against_option(key, spelt(key, text, _OPTIONS[key].option), _OPTIONS[key])
                for key, text in options_set(value, "the run's configuration").items()
                if key in _OPTIONS
            ]
        except UsageError as error:
            return _Against("set", str(error).rstrip("."))
        return next(filter(None, among), None)

    def _against_option(self, key: str, value: Any, known: Known) -> _Against | None:
        """Return why the site refuses an option; it follows options of parts that it accepts."""
        if key in OWN_WORD:
            try:
                said = not value or key in own_words(self.own, HERE)
            except UsageError as error:
                raise NodeConfigError(str(error)) from None
            return None if said else _Against(key, OWN_WORD[key])
        if known.key not in FOLLOWED and known.key not in self.allowed and key not in self.allowed:
            why = REASONS.get(known.key, "it is not among the keys that a run may set at a site")
            return _Against(key, why, key)
        if key in _DOWNLOADING and value and DOWNLOADS not in self.allowed:
            return _Against(key, "a site fetches nothing that it did not allow", DOWNLOADS)
        bound = known.option.most_at_sites
        if bound is not None and not _at_most(value, bound):
            return _Against(f"{key} above {bound:g}", "that is the most at every site")
        return None

    def _against_downloads(self, asked: Mapping[str, Any]) -> list[_Against]:
        """Return why the site refuses to download weights that it did not name itself."""
        backbone = asked.get("backbone", _SHIPPED_BACKBONE)
        weights = asked.get("weights", "DEFAULT")
        brings_its_own = str(backbone).partition(":")[0] in _INSTALLED["backbone"]
        if brings_its_own or {"backbone", "weights"} & self.own.keys() or DOWNLOADS in self.allowed:
            return []
        embeddings = str(self.own.get("data", "")).startswith("features:")
        if embeddings or weights == "random" or re.search(r"[/.]", str(weights)):
            return []  # no network, or no name of torchvision's
        why = "its weights would be downloaded; the node config may name a file: weights = 'FILE'"
        return [_Against(f"backbone = {shown(backbone)}", why, DOWNLOADS)]


def configuration_here(context: Context) -> RunConfig:
    """Return the configuration that a real site uses.

    Raises:
        RefusedError: The run asks for what this site does not accept.
        NodeConfigError: The site's own settings are wrong.
    """
    return SitePolicy.of(context.node_config).configuration(context.run_config)


def _refused(against: Sequence[_Against]) -> str:
    """Return a refusal's sentence; the refused keys come first, so that no cut removes them."""
    allow = ", ".join(dict.fromkeys(one.allow for one in against if one.allow))
    may = f" (its node config may allow it: allow = '{allow}')" if allow else ""
    names, reasons = (one.what for one in against), dict.fromkeys(one.why for one in against)
    return f"This site refuses {', '.join(names)}{may}: {'; '.join(reasons)}."


def _asked(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a run sets to another value than the default, without ``[compare]``."""
    defaults = {key: known.option.default for key, known in _OPTIONS.items()}
    defaults |= RunConfig().to_mapping()
    defaults["set"] = ""
    return {
        key: value
        for key, value in run_config.items()
        if key.partition(".")[0] != "compare" and not _same(value, defaults.get(key))
    }


def _same(value: Any, default: Any) -> bool:
    """Return whether a value is the default; True is not 1, but 1 is 1.0."""
    if isinstance(value, bool) or isinstance(default, bool):
        return value is default
    return bool(value == default)


def _too_many_epochs(key: str, most: int) -> _Against:
    return _Against(f"{key} above {most}", "that is the most by most-epochs of its node config")


def _at_most(value: Any, bound: float) -> bool:
    # What is no number is refused as such where types are checked.
    return not isinstance(value, int | float) or value <= bound
