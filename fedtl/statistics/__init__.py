"""Intervals and verdicts: how sure the numbers of a run are."""
