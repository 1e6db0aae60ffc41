"""Where everything of one project lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.config.settings import PROJECT_FILE, Settings
from services.errors import NotAllowed, NotFound

TOKEN_FILE = "api-token"
"""In the state folder: whoever can read it may do everything that the API can."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder; every path of it is derived here and nowhere else."""

    root: Path

    @property
    def images(self) -> Path:
        """The image store: ``<first two digits>/<sha256><suffix>``."""
        return self.root / "images"

    @property
    def models(self) -> Path:
        """One folder a model."""
        return self.root / "models"

    @property
    def generators(self) -> Path:
        """One folder a network that was trained to draw."""
        return self.root / "generators"

    @property
    def manifests(self) -> Path:
        """Dataset versions, named by their hash."""
        return self.root / "manifests"

    @property
    def explanations(self) -> Path:
        """Attributions and regions, npz."""
        return self.root / "explanations"

    @property
    def segments(self) -> Path:
        """Superpixels of images, npz; a cache that may be deleted."""
        return self.root / "segments"

    @property
    def embeddings(self) -> Path:
        """Region vectors of pool images, npz, before they enter the index."""
        return self.root / "embeddings"

    @property
    def index(self) -> Path:
        """The region index, one folder an encoder version."""
        return self.root / "index"

    @property
    def modes(self) -> Path:
        """Pooled regions of failure modes, npz, one folder a cycle."""
        return self.root / "modes"

    @property
    def runs(self) -> Path:
        """Training and evaluation runs, with their checkpoints."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """Pages made by ``e2x report``."""
        return self.root / "reports"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def state(self) -> Path:
        """The embedded database, broker and token: back this up."""
        return self.root / "state"

    def folders(self) -> tuple[Path, ...]:
        """All folders of a project."""
        return (
            self.images,
            self.models,
            self.generators,
            self.manifests,
            self.explanations,
            self.segments,
            self.embeddings,
            self.index,
            self.modes,
            self.runs,
            self.reports,
            self.logs,
            self.state,
        )

    def make(self) -> None:
        """Create what is missing."""
        for folder in self.folders():
            kept = folder in (self.logs, self.state)  # from the machine's other users
            folder.mkdir(mode=0o700 if kept else 0o777, parents=True, exist_ok=True)

    def inside(self, base: Path, relative: str) -> Path:
        """``base / relative``, refused where it would leave ``base``.

        Raises:
            NotAllowed: the path is absolute or climbs out.
        """
        path = (base / relative).resolve()
        if not path.is_relative_to(base.resolve()):
            raise NotAllowed(f"{relative!r} leaves the project folder")
        return path


def open_project(settings: Settings) -> Project:
    """The project that the settings name.

    Raises:
        NotFound: there is none; ``e2x init`` makes one.
    """
    root = settings.resolved_project()
    if not (root / PROJECT_FILE).is_file():
        raise NotFound(
            f"{root} is not a project (it has no {PROJECT_FILE}): run `e2x init {root}`, "
            "or name another with --project or E2X_PROJECT"
        )
    project = Project(root)
    project.make()
    return project
