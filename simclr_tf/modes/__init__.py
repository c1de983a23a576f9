"""What `run.py` can do, one module each: its flags become their arguments."""
