"""A run's network in its library's own form: what it learnt, to be used without fedtl."""
