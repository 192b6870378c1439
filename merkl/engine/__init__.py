"""Planning and running a build."""
