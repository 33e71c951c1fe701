"""The door: validation, series, files, and the groups that ArviZ reads."""
