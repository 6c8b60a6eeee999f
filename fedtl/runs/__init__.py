"""Runs from configuration to result, and what only a simulation can know."""
