"""Features used alike by serving and training."""
