"""Running jobs: child processes, worker processes, or here."""
