"""Real sites over TLS, tried on one machine: ``python -m simulations.real_sites``."""
