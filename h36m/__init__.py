"""The package behind the scripts: a folder per step (download, extract, process, export), and parallel processes."""

__version__ = "1.0"
