"""Many strategies on one federation: the runs, their results, and how they compare."""
