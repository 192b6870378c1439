"""Where records and blobs live."""
