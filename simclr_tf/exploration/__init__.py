"""What is in a folder: a map, groups, near-duplicates, outliers, labels to look at, on one page."""
