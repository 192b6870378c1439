"""merkl for programs and notebooks: builds as calls, and pictures of Futures and graphs."""
