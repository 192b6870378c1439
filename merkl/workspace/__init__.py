"""The files of the workspace: what they are, what is at a path now, and how an output gets there."""
