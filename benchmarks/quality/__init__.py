"""Offline quality of candidates beside published recommenders; see `__main__`."""
