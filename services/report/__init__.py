"""The page that shows what the loop did: failures, why, what was asked for, what came of it.

:func:`build` reads the database and writes one HTML file that needs nothing else: styles are
inline, pictures are data URIs, there is no script and no address of another place.
"""

from services.models.predict import Predict, predictor
from services.report.builder import build
from services.report.extra import ReportExtra, Tile

__all__ = ["Predict", "ReportExtra", "Tile", "build", "predictor"]
