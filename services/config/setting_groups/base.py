"""What all groups of settings are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """A table of ``e2x.toml``; an unknown key is an error, since it is most often a typing slip."""

    model_config = ConfigDict(extra="forbid", validate_default=True)
