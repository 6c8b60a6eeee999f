"""Data made ready: opened, turned into features, checked and dealt to clients."""
