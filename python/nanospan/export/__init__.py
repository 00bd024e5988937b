"""Export to files and to the monitoring systems that people already run."""
