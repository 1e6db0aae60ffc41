"""One image explained for a person."""
