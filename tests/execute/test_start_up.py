"""What starting up may import."""

from executor_bench import finish, log_of

from merkl.execute.local import Local

HEAVY = "asyncio multiprocessing subprocess cloudpickle socket selectors ctypes concurrent tempfile logging"


def test_an_executor_imports_nothing_heavy(bench):
    job = bench.python(f"""
        import sys
        import merkl.execute.local
        print(sorted(set("{HEAVY}".split()) & set(sys.modules)))
    """)
    with Local(1) as executor:
        finish(executor, job)
    assert log_of(job) == "[]\n"


def test_a_worker_imports_nothing_heavy(bench):
    job = bench.python(f"""
        import sys
        import merkl.execute.worker
        print(sorted({{*"{HEAVY} dataclasses inspect threading traceback".split()}} & set(sys.modules)))
    """)
    with Local(1) as executor:
        finish(executor, job)
    assert log_of(job) == "[]\n"
