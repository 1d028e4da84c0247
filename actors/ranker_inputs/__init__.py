"""The heavy ranker's inputs, a module for each family: their names, and how they are read."""
