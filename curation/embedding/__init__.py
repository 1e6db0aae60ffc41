"""Images and regions as vectors."""
