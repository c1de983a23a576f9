"""The encoder, its heads, and the roles of their variables."""
