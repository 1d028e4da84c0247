"""The heavy ranker: a MaskNet with a probability for each of ten engagements."""
