"""Failure modes over the cycles: known again, counted, followed."""
