"""From a frame's report to its label task waiting: how long, and what of it is the service's own.

    python -m benchmarks.latency [--frames 20]

Needs `e2x[traces]`. Makes a street world and trains the demo's detector on it, starts the service
as `e2x up` does, and reports one frame after another to an idle service. Its own traces say where
the time goes. Prints a table and writes ``benchmarks/results/latency.json``.
"""
