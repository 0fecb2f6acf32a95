"""Helpers of the four Human3.6M scripts, one room each."""

__version__ = "1.0"
