"""Reports: what a build does, told to people and to programs."""
