"""Scenarios as TOML, and the thin Flower app that is all a bundle carries."""
