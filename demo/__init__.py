"""A small synthetic release of the dataset and a fake server, for `make demo` and for the tests."""
