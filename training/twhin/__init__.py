"""TwHIN: embeddings of users, authors and posts from the network of who follows and engages."""
