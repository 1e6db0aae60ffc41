"""Pictures of the pages for the documentation, taken in Chromium of what a demo has made.

``python docs/pictures.py demo/project`` writes them here. It works on a copy of the project, in
which one answered image is asked for again, so that the page to label on has something to show.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from services import context as wiring
from services.accounts import login, users
from services.api import server as serve
from services.api.app import create_app
from services.api.auth import session_cookie
from services.config.settings import Settings
from services.context import Context
from services.db.migrate import upgrade
from services.db.tables import Explanation, FailureRow, LabelTask, TaskState, UserRole

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 860}
WIDTH_PX, QUALITY = 960, 78
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main(project: Path) -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("*.sock", "redis", "logs"))
        (copy / "logs").mkdir(exist_ok=True)
        context = wiring.build(Settings(project=copy))
        upgrade(context.engine)
        cookie, failure = _prepare(context)
        listener = socket.create_server(("127.0.0.1", 0))
        app = create_app(context)
        server = serve.server(app, context.settings.api)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with sync_playwright() as engine:
                browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
                opened = browser.new_context(base_url=url, viewport=SIZE, color_scheme="light")
                name, _, value = cookie.partition("=")
                opened.add_cookies([{"name": name, "value": value, "url": url}])
                page = opened.new_page()
                _take(page, "/", "#live-status", "pages_start")
                _take(page, "/label", "[data-do=submit]:enabled", "pages_label")
                _take(page, f"/failures/{failure}", "h2", "pages_failure")
                browser.close()
        finally:
            server.should_exit = True
            thread.join()


def _prepare(context: Context) -> tuple[str, str]:
    """Somebody who is signed in, a task that waits, and a failure that was explained."""
    with context.sessions.begin() as session:
        user = users.add(session, context.settings, "anna", UserRole.ADMIN, None)
        session.flush()
        made = login.begin(session, context.settings, user, "pictures")
        task = session.scalars(
            select(LabelTask).where(LabelTask.state == TaskState.SUBMITTED).order_by(LabelTask.id)
        ).first()
        if task is None:
            sys.exit("this project has no answered label task: run the demo first")
        task.state, task.annotation_id = TaskState.WAITING, None
        asked = task.reason.get("failure")
        failure = asked or session.scalars(select(Explanation.failure_id)).first()
        assert session.get(FailureRow, failure) is not None
    return f"{session_cookie(context.settings)}={made.session_id}", str(failure)


def _take(page: Any, path: str, ready: str, name: str) -> None:
    """One page, once it is there."""
    page.goto(path)
    page.locator(ready).first.wait_for()
    page.wait_for_load_state("load")
    time.sleep(1)  # pictures that are drawn on demand
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    small = shot.resize((WIDTH_PX, round(WIDTH_PX * shot.height / shot.width)))
    small.save(HERE / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
