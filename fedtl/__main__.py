"""``python -m fedtl`` is the command ``fedtl``."""

from fedtl.console import main

main()
