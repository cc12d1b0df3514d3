"""Pictures of a run and its one-file report. Numbers are taken from the run in one place, the facts."""

from backpass.pictures.picture import Picture
from backpass.report.plots import plot, plot_rows, report_html, write_report

__all__ = ["Picture", "plot", "plot_rows", "report_html", "write_report"]
