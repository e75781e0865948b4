"""Semi-supervised semantic segmentation by structured consistency, and the controls it must be judged against."""

__version__ = "0.1.0"
