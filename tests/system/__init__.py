"""Tests that share one running system; a package, so that the fixture lasts as long as it."""
