"""A store that several machines share: contents and records as named objects in a directory or a bucket."""
