"""Labelling tools that tasks are sent to and answers are pulled from.

The database is the truth. What a tool is given is written down, with the lease, before the tool
hears of it (:mod:`services.labeling.connectors.push`); answers are pulled
(:mod:`services.labeling.connectors.pull`), and news that a tool sends only says that it is time to.
Whatever breaks off in between is found by the next exchange
(:mod:`services.labeling.connectors.sync`).
"""
