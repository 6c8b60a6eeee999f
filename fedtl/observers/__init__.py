"""Who watches a run and writes it down: its folder, its progress."""
