"""Many strategies on one federation: which runs, what each came to, and how they compare."""
