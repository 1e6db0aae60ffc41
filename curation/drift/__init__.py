"""How unlike a reference a day of frames is, and whether that is more than chance.

``sums.py`` sums up frames by group; ``compare.py`` compares a day's groups with the reference's.
"""
