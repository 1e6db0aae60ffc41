"""What can be watched from outside: the metrics, where each is read, and their text.

What must survive a worker's death is read from the database at each look. How long units take is
counted by the workers in the broker, so that neither the number of their processes nor the death of
one matters. What only the process that answers knows is its own.
"""
