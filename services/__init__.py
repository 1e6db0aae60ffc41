"""Everything with a network, a broker, a database, a screen or a clock.

A stage loads rows, calls one function of :mod:`curation` or :mod:`retrain` and stores rows. The
truth is in the database; a message is only a nudge.
"""
