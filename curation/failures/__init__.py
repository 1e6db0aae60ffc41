"""What went wrong in a frame: its failures, and the default box that each is explained at."""

from curation.failures.default_boxes import FailureRules
from curation.failures.find import OperatorReport, failure_key, find_failures, from_report

__all__ = ["FailureRules", "OperatorReport", "failure_key", "find_failures", "from_report"]
