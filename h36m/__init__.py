"""The package behind the scripts: a folder per step (download, extract, process), and parallel for their work."""

__version__ = "1.0"
