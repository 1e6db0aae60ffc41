"""What to label: everything a decision needs, and the decision."""
