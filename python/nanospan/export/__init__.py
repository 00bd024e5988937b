"""Export recorded data to files and to existing monitoring systems."""
