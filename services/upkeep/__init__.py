"""What keeps a project whole: sweeping, backup, private files, invariants, readiness."""
