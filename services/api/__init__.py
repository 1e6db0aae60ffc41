"""The HTTP API: what fleets, labelling tools and scripts talk to."""
