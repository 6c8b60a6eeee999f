"""What a simulation makes of its clients: some drop out, some straggle, some are hostile."""
