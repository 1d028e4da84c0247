"""Which accounts a viewer may want to follow: the follow-recommendations service."""
