"""What a report page says of runs, gathered from their files and their cache; the page's scripts show it."""

from comix_fast.report.gathering.embedding_map import MapAsked
from comix_fast.report.gathering.page_values import ReportAsked, gather
from comix_fast.report.gathering.pictured import PicturesAsked
from comix_fast.report.gathering.readings import Reading, read_run

__all__ = ["MapAsked", "PicturesAsked", "Reading", "ReportAsked", "gather", "read_run"]
