"""What server and sites agree on: kinds of message, what replies carry, codes of errors."""
