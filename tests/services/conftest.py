"""Fixtures of the services' tests."""

from tests.service_fixtures import *  # noqa: F403
from tests.services.api_server import address, api, client, served  # noqa: F401
from tests.services.browser import browser  # noqa: F401
from tests.services.commands import champion, line  # noqa: F401
from tests.services.explain_frames import found, small  # noqa: F401
from tests.services.field_frames import field, lite  # noqa: F401
from tests.services.label_queue import waiting  # noqa: F401
from tests.services.label_studio_server import label_studio_server, people  # noqa: F401
from tests.services.mlflow_server import mlflow_server  # noqa: F401
from tests.services.plan_project import planned  # noqa: F401
from tests.services.together import set_work  # noqa: F401
