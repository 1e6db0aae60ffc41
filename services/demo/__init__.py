"""The demo: a detector fails in the street world, and the loop repairs it, on real parts."""
