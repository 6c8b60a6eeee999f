"""Runs clients on this machine: Ray's and Flower's internals are touched here and nowhere else."""

import logging
import warnings

# Ray advises whoever imports it in a notebook to install widgets, which nothing here shows.
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", "IProgress not found")
