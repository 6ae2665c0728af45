"""What finished runs and benchmarks recorded: read, summed up over seeds, tested in pairs, filled into tables."""
