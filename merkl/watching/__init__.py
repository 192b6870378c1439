"""Building again whenever something that matters has changed."""
