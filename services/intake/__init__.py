"""What comes in: frames, sidecars, watched folders, imports."""
