"""What a run came to, as numbers, before anybody renders it."""
