"""Write what other projects' trainers read, one module per format."""
