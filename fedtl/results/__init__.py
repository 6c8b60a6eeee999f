"""The result of a run, as numbers, before it is rendered."""
