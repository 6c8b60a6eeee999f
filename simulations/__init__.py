"""Scenarios as TOML, and the thin Flower app, the only content of a bundle."""
