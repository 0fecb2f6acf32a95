"""Unpack archives."""
