"""The paper's studies over one's own data: a declared grid of runs, measured and concluded from."""
