"""The policy of a name as the settings want it; loads no network."""

from __future__ import annotations

from curation import select as policies
from services.config.settings import Settings


def policy_of(settings: Settings, name: str) -> policies.Policy:
    """The policy with the settings that it takes.

    Raises:
        ValueError: no such policy.
    """
    return policies.configured(name, coverage=settings.selection.coverage_share)


def needs_explanations(settings: Settings, name: str) -> bool:
    """Whether it looks for what hurt in explained failures."""
    return policies.Need.REGIONS in policy_of(settings, name).needs


def walks_pool(settings: Settings, name: str) -> bool:
    """Whether the champion must look at every pool image for it."""
    return policies.Need.WHOLE_POOL in policy_of(settings, name).needs
