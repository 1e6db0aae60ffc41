"""The schema of the Helm chart's values, with all settings of the service in it.

So a setting that is none, or out of its bounds, is refused by `helm install` and not by a pod. A
secret is none of these: the chart writes settings where many can read them.
"""

from __future__ import annotations

import json
from typing import Any

OWN = ("project", "database_url", "broker_url")
"""Given by the chart, or secret."""

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
ONE = {"type": "integer", "minimum": 1}
LIST = {"type": "array"}
TEXTS = {"type": "array", "items": TEXT}
MAP = {"type": "object"}
SIZE = {"type": ["string", "integer", "number"], "pattern": r"^[0-9.]+([kMGTPE]i?|m)?$"}
SIZES = {"type": "object", "additionalProperties": SIZE, "required": ["cpu", "memory"]}


def page() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The schema, in JSON Schema 2020-12."""
    from services.units.pipeline import QUEUES

    settings, groups = _settings()
    place = {
        "resources": _object({"requests": SIZES, "limits": SIZES}, ("requests", "limits")),
        "nodeSelector": MAP,
        "tolerations": LIST,
        "affinity": MAP,
        "env": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    }
    worker = _object(
        {
            "queues": {
                "type": "array",
                "items": {"enum": list(QUEUES)},
                "minItems": 1,
                "uniqueItems": True,
            },
            "replicas": COUNT,
            "single": {**FLAG, "description": "An old pod ends before a new one starts."},
            "gpus": COUNT,
            "scaling": _object(
                {"enabled": FLAG, "minPods": COUNT, "maxPods": ONE, "unitsPerPod": ONE}
            ),
            **place,
        },
        ("queues", "resources"),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "Written by docs/generated.py: change the code, not this file.",
        "$defs": groups,
        **_object(
            {
                "image": _object(
                    {
                        "api": TEXT,
                        "worker": TEXT,
                        "cuda": TEXT,
                        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                        "pullSecrets": LIST,
                    }
                ),
                "existingSecret": {"type": "string", "minLength": 1},
                "settings": settings,
                "project": _object(
                    {
                        "existingClaim": TEXT,
                        "storageClass": TEXT,
                        "size": SIZE,
                        "accessModes": TEXTS,
                        "sharedBy": TEXTS,
                    }
                ),
                "scratch": _object({"project": SIZE, "cache": SIZE, "tmp": SIZE}),
                "api": _object({"replicas": ONE, **place}),
                "relay": _object({"replicas": ONE, **place}),
                "beat": _object(place),
                "workers": {"type": "object", "additionalProperties": worker},
                "terminationGracePeriodSeconds": {"type": "integer", "minimum": _least_grace_s()},
                "migrations": _object({"resources": place["resources"], "deadlineSeconds": ONE}),
                "keda": _object(
                    {
                        "connectionSecret": TEXT,
                        "connectionKey": TEXT,
                        "pollingInterval": ONE,
                        "cooldownPeriod": COUNT,
                    }
                ),
                "service": _object({"port": ONE}),
                "ingress": _object(
                    {
                        "enabled": FLAG,
                        "className": TEXT,
                        "host": TEXT,
                        "tlsSecret": TEXT,
                        "annotations": MAP,
                    }
                ),
                "serviceMonitor": _object({"enabled": FLAG, "interval": TEXT}),
                "networkPolicy": _object(
                    {
                        "enabled": FLAG,
                        "apiFrom": LIST,
                        "ports": {"type": "array", "items": ONE},
                        "to": LIST,
                    }
                ),
                "podDisruptionBudgets": FLAG,
                "podSecurityContext": {
                    "type": "object",
                    "properties": {
                        "runAsNonRoot": {"const": True},
                        "runAsUser": ONE,
                    },
                    "required": ["runAsNonRoot", "runAsUser"],
                },
                "global": MAP,
            }
        ),
    }


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return {**found, "required": list(required)} if required else found


def _least_grace_s() -> int:
    """What a worker has to end its unit, and as much again to give it back."""
    from services.worker.app import SOFT_SHUTDOWN_S

    return int(2 * SOFT_SHUTDOWN_S)


def _settings() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of all settings that are no secret, and of their groups."""
    from services.config.settings import Settings

    whole = Settings.model_json_schema()
    groups = {name: _plain(group) for name, group in whole.pop("$defs").items()}
    settings = _plain(whole)
    for name in OWN:
        del settings["properties"][name]
    return settings, groups


def _plain(model: dict[str, Any]) -> dict[str, Any]:
    """A group without its secrets, and without what helps nobody here."""
    properties = {
        name: _lean(field)
        for name, field in model["properties"].items()
        if '"writeOnly": true' not in json.dumps(field)
    }
    return _object(properties)


def _lean(field: dict[str, Any]) -> dict[str, Any]:
    left_out = ("default", "title", "format")
    return {name: value for name, value in field.items() if name not in left_out}
