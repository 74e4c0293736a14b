"""What a purification is told as: the report, its page, and figures.

Matplotlib is loaded when the first figure is drawn.
"""

from tfbackdoor.report.analysis import activation_gap
from tfbackdoor.report.analysis import embed
from tfbackdoor.report.analysis import penultimate_features
from tfbackdoor.report.analysis_figures import plot_embedding
from tfbackdoor.report.analysis_figures import plot_gap
from tfbackdoor.report.figures import plot_attention
from tfbackdoor.report.figures import plot_attention_rows
from tfbackdoor.report.figures import plot_curve
from tfbackdoor.report.figures import plot_masks
from tfbackdoor.report.figures import plot_samples
from tfbackdoor.report.report import Report
from tfbackdoor.report.report import suspicious_neurons
from tfbackdoor.report.report import versions

__all__ = [
    "Report",
    "activation_gap",
    "embed",
    "penultimate_features",
    "plot_attention",
    "plot_attention_rows",
    "plot_curve",
    "plot_embedding",
    "plot_gap",
    "plot_masks",
    "plot_samples",
    "suspicious_neurons",
    "versions",
]
