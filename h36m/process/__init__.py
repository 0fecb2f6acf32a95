"""Turn unpacked files into frames and annotations."""
