"""Fixtures of the services' tests."""

from tests.service_fixtures import *  # noqa: F403
