"""What a task touches while it runs: seen by ``strace``, and in Python code by the audit hook."""
