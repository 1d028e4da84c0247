"""Trust and safety text models: from texts that people labelled to calibrated probabilities."""
