"""The command line of `run.py`: absl definitions, recipes, and their way into `RunConfig`."""
