"""What can be set: a dataclass for each area, standard library only; nothing lies below it."""
