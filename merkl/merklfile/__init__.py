"""The Merklfile: finding it, running it, and the targets, parameters and input files that it names."""
