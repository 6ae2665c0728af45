"""Reporting: recorded runs and benchmarks are read, summed up over seeds, tested in pairs, filled into tables."""
