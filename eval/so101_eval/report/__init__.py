"""The report of an evaluation: records -> data (`data`) -> one page that needs nothing else (`render`)."""

from so101_eval.report.data.report_data import report_data

__all__ = ["report_data"]
