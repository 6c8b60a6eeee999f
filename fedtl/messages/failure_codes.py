"""Codes of error replies beyond Flower's own, and what a real site means by them.

A simulated client sends its reason in full. A real site sends its code and the sentence here:
the reason may name paths, classes or values of its data, and stays in the site's own log.
"""

from __future__ import annotations

DROPPED_OUT = 7001
"""The scenario intends it. Only a simulation sends it."""

REFUSED = 7002
"""The site refuses what the run asks; it names only keys of the run."""

NOT_OPENED = 7003
"""The site's data cannot be opened, or prepared."""

NOT_RELEASED = 7004
"""The answer is not as declared, or contradicts itself: it must not leave."""

FAILED = 7005
"""Anything else."""

NOT_ENTERED = 7006
"""The site cannot write its own ledger, so nothing leaves."""

_ITS_LOG = "its own log says why"
SENTENCES = {
    NOT_OPENED: f"the site could not open its data; {_ITS_LOG}",
    NOT_RELEASED: f"the site's answer did not pass its own checks, so it was not sent; {_ITS_LOG}",
    FAILED: f"the site failed while it worked on its answer; {_ITS_LOG}",
    NOT_ENTERED: f"the site could not write its own ledger, so it sent nothing; {_ITS_LOG}",
}
