"""Sessions in two halves: made from logs, memory-mapped, read in a drawn order."""
