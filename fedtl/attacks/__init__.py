"""What hostile clients do in a simulation: one file for each attack."""
