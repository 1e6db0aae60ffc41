"""The registry's mirror in MLflow: runs, curves, verdicts, files and the alias ``champion``.

What is to be told is written by :func:`services.models.mirrored.want`, in the transaction that
changes a model. A process of its own tells it, so that a server that is away or slow holds nobody
up, and may be killed anywhere: what it has told already it finds again by the model's id.
"""
