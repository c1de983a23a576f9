"""The paper's evaluation protocols, each on any encoder and any data set."""
