"""Other machines: nodes sent to them, run there, and their results found in the store that is shared."""
