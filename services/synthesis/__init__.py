"""Samples that are drawn where the pool lacks them: from rows to the science and back.

``scope``       rows: modes, failures in frames that teach, known objects, budget
``material``    the same with pictures and what the champion finds in them
``provenance``  what a drawn picture says of itself
``keeping``     drawn samples to rows and files
``samples``     found, accepted, refused, withdrawn
"""
