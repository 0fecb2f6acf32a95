"""A small made-up release of the dataset and a stand-in of its site, for `make demo` and for the tests."""
