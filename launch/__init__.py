"""One absl launcher a job; run as `python -m launch.NAME`."""
