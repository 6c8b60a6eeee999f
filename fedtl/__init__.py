"""fedtl: federated transfer learning with a frozen backbone."""

import os

__version__ = "0.1.0"

# Left to itself, MKL sums a product in an order that depends on where in memory its result lies, so
# on a client's place in a stack, where sizes are no multiples of 16 bytes. This is its documented
# way to ask for the same bits everywhere (oneMKL Developer Guide, "Obtaining Numerically
# Reproducible Results"); head products take no longer. MKL reads it when it is first used, so it is
# set before anything here can use it.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
