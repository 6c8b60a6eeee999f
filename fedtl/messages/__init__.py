"""What server and sites have agreed on: kinds of message, what replies carry, codes of errors."""
