"""Cycles of the loop: begun, followed, cancelled, triggered, taken up again."""
