"""Candidate sources, each named after its system in the original."""
