"""What people read when something is wrong, word by word.

Each case is a small Merklfile, what a command says of it, and the exit code.  Every message names a place of the user's,
shows no frame of merkl's, and has at most twelve lines.
"""

import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import merkl

NAMES = "DirRef, FileRef, Secret, batch, file, merkl_open, pip_version_of, pipeline, target, task"
HEAD = f"from merkl import {NAMES}\n\n\n@task\ndef one(x):\n    return x\n\n\n"
MOST_LINES = 12
OURS = str(Path(merkl.__file__).parent)


@dataclass(frozen=True, slots=True)
class Case:
    """``before`` stands in the Merklfile; the default target then returns ``value``, if there is one."""

    name: str
    before: str
    value: str
    message: str
    code: int = 2
    command: str = "build -q -j1"
    files: dict[str, str] = field(default_factory=dict)

    def merklfile(self) -> str:
        target = f"\n\n\n@target(default=True)\ndef all():\n    return {self.value}\n" if self.value else "\n"
        return HEAD + textwrap.dedent(self.before).strip("\n") + target


def normal(text: str, project: Path) -> str:
    """A message without what differs from run to run, or from one Python to the next."""
    text = text.replace(str(project), "/project").replace(sys.executable, "/bin/python")
    text = text.replace(OURS, "/site-packages/merkl")
    text = re.sub(r"\b[0-9a-f]{12}>", "0123456789ab>", text)
    text = re.sub(r"run/[0-9a-f]+-\d+", "run/1-1", text)
    text = re.sub(r"merkl-\w{8}/", "merkl-x/", text)
    text = re.sub(r" at 0x[0-9a-f]+", " at 0x1", text)
    text = re.sub(r"\b\d+\.\d+ ?s\b", "0.0s", text)
    text = re.sub(r"\. Did you mean: '\w+'\?", "", text)  # Since Python 3.12.
    lines = [line for line in text.splitlines() if not re.fullmatch(r"\s+[~^]+\s*", line) or "source" in text]
    return "\n".join(lines)


CASES = [
    Case(
        "three arguments for one, in a pipeline in a pipeline",
        """
        @pipeline
        def inner(text):
            return one(text, 2, 3)

        @pipeline
        def outer():
            return inner('to be')
        """,
        "outer()",
        """
        one takes 1 argument, and got 3
          signature: one(x)
          passed: ('to be', 2, 3)
          defined: Merklfile.py:4
          at:
            Merklfile.py:20, in all
              return outer()
            Merklfile.py:15, in outer
              return inner('to be')
            Merklfile.py:11, in inner
              return one(text, 2, 3)
        """,
    ),
    Case(
        "an argument is missing",
        "",
        "one()",
        """
        one needs 'x', which was not passed
          signature: one(x)
          passed: ()
          defined: Merklfile.py:4
          at:
            Merklfile.py:14, in all
              return one()
        """,
    ),
    Case(
        "an unknown keyword",
        """
        @task
        def resize(image, width=3):
            return image
        """,
        "resize('a.png', widht=4)",
        """
        resize has no parameter 'widht'
          signature: resize(image, width=3)
          passed: ('a.png', widht=4)
          defined: Merklfile.py:9
          at:
            Merklfile.py:16, in all
              return resize('a.png', widht=4)
          hint: did you mean width?
        """,
    ),
    Case(
        "one parameter twice",
        "",
        "one(1, x=2)",
        """
        one got 'x' twice, by position and by name
          signature: one(x)
          passed: (1, x=2)
          defined: Merklfile.py:4
          at:
            Merklfile.py:14, in all
              return one(1, x=2)
        """,
    ),
    Case(
        "by position what goes by name",
        """
        @task
        def resize(image, *, width):
            return image
        """,
        "resize('a.png', 4)",
        """
        resize takes 1 argument by position, and got 2
          signature: resize(image, *, width)
          passed: ('a.png', 4)
          defined: Merklfile.py:9
          at:
            Merklfile.py:16, in all
              return resize('a.png', 4)
          hint: pass by name: width=
        """,
    ),
    Case(
        "a pipeline with too many",
        """
        @pipeline
        def scores(n: int):
            return one(n)
        """,
        "scores(1, 2)",
        """
        scores takes 1 argument, and got 2
          signature: scores(n: int)
          passed: (1, 2)
          defined: Merklfile.py:9
          at:
            Merklfile.py:16, in all
              return scores(1, 2)
        """,
    ),
    Case(
        "a batch with an unknown keyword",
        """
        @batch(one)
        def many(xs):
            return xs
        """,
        "many([1], speed=2)",
        """
        many has no parameter 'speed'
          signature: many(xs)
          passed: ([1], speed=2)
          defined: Merklfile.py:9
          at:
            Merklfile.py:16, in all
              return many([1], speed=2)
        """,
    ),
    Case(
        "a target with too many",
        """
        @target
        def part(n=1):
            return one(n)
        """,
        "part(1, 2)",
        """
        the target part takes 1 argument, and got 2
          signature: part(n=1)
          passed: (1, 2)
          defined: Merklfile.py:9
          at:
            Merklfile.py:16, in all
              return part(1, 2)
        """,
    ),
    Case(
        "a hinted task returns nothing",
        """
        @task
        def double(n) -> int:
            n * 2
        """,
        "double(2)",
        """
        [1/1] failed double n=2  0.0s
          double returned None, and its hint is int
            reason: None is not an instance of int
            defined: Merklfile.py:9
            task: double(n=2)
            at: Merklfile.py:16
            hint: double ends without returning a value
        """,
        code=1,
    ),
    Case(
        "the value of a task that returns nothing",
        """
        @task
        def double(n):
            n * 2

        @task
        def add(a, b):
            return a + b
        """,
        "add(double(2), 1)",
        """
        [2/2] failed add b=1  0.0s
          add raised TypeError: unsupported operand type(s) for +: 'NoneType' and 'int'
            task: add(b=1)
            at: Merklfile.py:20
            traceback:
              Traceback (most recent call last):
                File "/project/Merklfile.py", line 15, in add
                  return a + b
              TypeError: unsupported operand type(s) for +: 'NoneType' and 'int'
            log: .merkl/run/1-1/log
            hint: double ends without returning a value: Merklfile.py:9
        """,
        code=1,
    ),
    Case(
        "what returns nothing is placed",
        """
        @task
        def double(n):
            n * 2
        """,
        "double(2) > 'two.txt'",
        """
        [1/1] failed double two.txt
          a value of type NoneType cannot be written to a .txt file, which takes text, bytes and numbers
            output: double, placed at Merklfile.py:16
            hint: double ends without returning a value: Merklfile.py:9
        """,
        code=1,
    ),
    Case(
        "a pipeline that returns nothing",
        """
        @pipeline
        def scores():
            one(1)
        """,
        "scores()",
        """
        note: the target all returned no Future and placed none, so what it calls does not run: one, at Merklfile.py:11
          hint: return what is to be built, or place it: future > "path"
        0 tasks in 0.0s
        """,
        code=0,
        command="build -j1",
    ),
    Case(
        "a Future is used as a value: a sum",
        "",
        "one(1) + 2",
        """
        <Future one 0123456789ab> was used as if it were its value (+)
          at:
            Merklfile.py:14, in all
              return one(1) + 2
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a text",
        "",
        "one(f'{one(1)}')",
        """
        <Future one 0123456789ab> was used as if it were its value (an f-string)
          at:
            Merklfile.py:14, in all
              return one(f'{one(1)}')
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a length",
        "",
        "len(one(1))",
        """
        <Future one 0123456789ab> was used as if it were its value (len())
          at:
            Merklfile.py:14, in all
              return len(one(1))
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a loop",
        "",
        "[one(i) for i in one(1)]",
        """
        <Future one 0123456789ab> was used as if it were its value (a loop, list() or unpacking)
          at:
            Merklfile.py:14, in all
              return [one(i) for i in one(1)]
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a range",
        "",
        "range(one(1))",
        """
        <Future one 0123456789ab> was used as if it were its value (as a number, or in range())
          at:
            Merklfile.py:14, in all
              return range(one(1))
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a truth value",
        "",
        "3 if one(1) else 4",
        """
        <Future one 0123456789ab> has no truth value yet
          at:
            Merklfile.py:14, in all
              return 3 if one(1) else 4
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now. To place it at two paths write two statements: f > "x" and then f > "y"
        """,
    ),
    Case(
        "a Future is used as a value: an attribute",
        "",
        "one('a').upper()",
        """
        <Future one 0123456789ab> was used as if it were its value (.upper)
          at:
            Merklfile.py:14, in all
              return one('a').upper()
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: an item",
        "",
        "one([1])[0]",
        """
        <Future one 0123456789ab> was used as if it were its value ([…])
          at:
            Merklfile.py:14, in all
              return one([1])[0]
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now. A directory's files can be named: of a Python task that says that it returns one (-> DirRef), and of an out_dir_arg
        """,
    ),
    Case(
        "a Future is used as a value: a comparison",
        "",
        "one(1) < 2",
        """
        <Future one 0123456789ab> was used as if it were its value (<)
          at:
            Merklfile.py:14, in all
              return one(1) < 2
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a member",
        "",
        "1 in one([1])",
        """
        <Future one 0123456789ab> was used as if it were its value (in)
          at:
            Merklfile.py:14, in all
              return 1 in one([1])
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a call",
        "",
        "one(len)([1])",
        """
        the target all raised TypeError: 'Future' object is not callable
          at:
            Merklfile.py:14, in all
              return one(len)([1])
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a path",
        "",
        "open(one('a.txt'))",
        """
        the target all raised TypeError: expected str, bytes or os.PathLike object, not Future
          at:
            Merklfile.py:14, in all
              return open(one('a.txt'))
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future from far above is used as a value",
        "model = one(1)",
        "model * 2",
        """
        <Future one 0123456789ab> was used as if it were its value (*)
          made: Merklfile.py:9
          at:
            Merklfile.py:14, in all
              return model * 2
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a Future is used as a value: a text to be joined",
        "",
        "','.join([one('a')])",
        """
        the target all raised TypeError: sequence item 0: expected str instance, Future found
          at:
            Merklfile.py:14, in all
              return ','.join([one('a')])
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    Case(
        "a pipeline that is a coroutine",
        """
        @pipeline
        async def scores():
            return one(1)
        """,
        "",
        """
        scores is a coroutine, which a pipeline cannot be
          at:
            Merklfile.py:9, in <module>
              @pipeline
          hint: write `def`; what tasks do at the same time is for merkl to say
        """,
    ),
    Case(
        "an exception that another led to",
        """
        def chosen(models):
            try:
                return models['best']
            except KeyError as error:
                raise ValueError('no model') from error
        """,
        "one(chosen({}))",
        """
        the target all raised ValueError: no model
          at:
            Merklfile.py:18, in all
              return one(chosen({}))
            Merklfile.py:13, in chosen
              raise ValueError('no model') from error
          cause:
            KeyError: 'best'
              Merklfile.py:11, in chosen
                return models['best']
        """,
    ),
    Case(
        "a group of exceptions",
        """
        def check():
            raise ExceptionGroup('two of them', [ValueError('a'), TypeError('b')])
        """,
        "one(check())",
        """
        the target all raised ExceptionGroup: two of them (2 sub-exceptions)
          exceptions:
            ValueError: a
            TypeError: b
          at:
            Merklfile.py:15, in all
              return one(check())
            Merklfile.py:10, in check
              raise ExceptionGroup('two of them', [ValueError('a'), TypeError('b')])
        """,
    ),
    Case(
        "a task raises an exception of several lines with a note",
        """
        @task
        def double(n):
            error = ValueError('first\\nsecond')
            error.add_note('a note')
            raise error
        """,
        "double(2)",
        """
        [1/1] failed double n=2  0.0s
          double raised ValueError: first
            task: double(n=2)
            at: Merklfile.py:18
            traceback:
              Traceback (most recent call last):
                File "/project/Merklfile.py", line 13, in double
                  raise error
              ValueError: first
              second
              a note
            log: .merkl/run/1-1/log
        """,
        code=1,
    ),
    Case(
        "an exception that cannot say what it is",
        """
        class Mute(Exception):
            def __str__(self):
                return 3
        @task
        def double(n):
            raise Mute()
        """,
        "double(2)",
        """
        [1/1] failed double n=2  0.0s
          double raised Merklfile.Mute: <its text cannot be had>
            task: double(n=2)
            at: Merklfile.py:19
            traceback:
              Traceback (most recent call last):
                File "/project/Merklfile.py", line 14, in double
                  raise Mute()
              Merklfile.Mute: <exception str() failed>
            log: .merkl/run/1-1/log
        """,
        code=1,
    ),
    Case(
        "an argument that has no encoding",
        "",
        "one([1, {'pages': (n for n in range(3))}])",
        """
        one: the argument 'x' holds a value of type generator, which has no stable encoding, and cannot be pickled (cannot pickle 'generator' object)
          inside: x[1]['pages']
          at:
            Merklfile.py:14, in all
              return one([1, {'pages': (n for n in range(3))}])
          hint: pass plain values, dataclasses, arrays, frames, paths, a FileRef or a Future; serializers= writes others
        """,
    ),
    Case(
        "a result that cannot be stored",
        """
        import threading

        @task
        def lock():
            return threading.Lock()
        """,
        "lock()",
        """
        [1/1] failed lock  0.0s
          lock: its result, of type lock, cannot be stored: cannot pickle '_thread.lock' object
            task: lock()
            at: Merklfile.py:18
            hint: return plain data, arrays or a FileRef
        """,
        code=1,
    ),
    Case(
        "a result of a class of the Merklfile",
        """
        class Point:
            pass

        @task
        def point():
            return [Point()]
        """,
        "point()",
        """
        [1/1] failed point  0.0s
          a value needs Point, which is defined in a Merklfile, and would not come back as the same
            module: Merklfile
            task: point()
            at: Merklfile.py:19
            hint: define Point in a module of the project and import it, or return plain data
        """,
        code=1,
    ),
    Case(
        "a task returns a Future",
        """
        @task
        def twice(n):
            return one(2 * n)
        """,
        "twice(2)",
        """
        [1/1] failed twice n=2  0.0s
          twice returned <Future one 0123456789ab>, and a task cannot return Futures: what they need would not be in its key
            task: twice(n=2)
            at: Merklfile.py:16
            hint: call one.function(…) in it, or pass it the Future as an argument
        """,
        code=1,
    ),
    Case(
        "a task evaluates a Future",
        """
        @task
        def twice(n):
            return 2 * one(n).eval()
        """,
        "twice(2)",
        """
        [1/1] failed twice n=2  0.0s
          twice asked for the value of one while it ran, which a task cannot do
            at: Merklfile.py:11
            task: twice(n=2)
            hint: pass the Future to the task as an argument; to run another task's function right here, call its .function(…)
        """,
        code=1,
    ),
    Case(
        "a value that a file cannot hold",
        "",
        "one({1, 2}) > 'numbers.json'",
        """
        [1/1] failed one numbers.json
          a value of type set cannot be written to a .json file, which takes numbers, text, None, and lists, tuples and dicts of them, without NaN
            output: one, placed at Merklfile.py:14
            hint: values can be written as .csv, .json, .npy, .parquet, .pickle, .pkl, .txt
        """,
        code=1,
    ),
    Case(
        "a module that is not there",
        "import numpyy",
        "",
        """
        Merklfile.py raised ModuleNotFoundError: No module named 'numpyy'
          at:
            Merklfile.py:9, in <module>
              import numpyy
          hint: is it installed in this environment? merkl runs with /bin/python
        """,
    ),
    Case(
        "a module that is not there, in a task",
        """
        @task
        def mean(values):
            import numpyy
            return numpyy.mean(values)
        """,
        "mean([1])",
        """
        [1/1] failed mean  0.0s
          mean raised ModuleNotFoundError: No module named 'numpyy'
            task: mean()
            at: Merklfile.py:17
            traceback:
              Traceback (most recent call last):
                File "/project/Merklfile.py", line 11, in mean
                  import numpyy
              ModuleNotFoundError: No module named 'numpyy'
            log: .merkl/run/1-1/log
            hint: is it installed in this environment? merkl runs with /bin/python
        """,
        code=1,
    ),
    Case(
        "a module that is not there, in a worker",
        """
        from helper import mean

        average = task(mean)
        """,
        "average([1])",
        """
        [1/1] failed mean  0.0s
          mean raised ModuleNotFoundError: No module named 'numpyy'
            task: mean()
            at: Merklfile.py:16
            traceback:
              Traceback (most recent call last):
                File "/project/helper.py", line 2, in mean
                  import numpyy
              ModuleNotFoundError: No module named 'numpyy'
            log: .merkl/run/1-1/log
            hint: is it installed in this environment? merkl runs with /bin/python
        """,
        code=1,
        command="build -q -j2",
        files={"helper.py": "def mean(values):\n    import numpyy\n    return numpyy.mean(values)\n"},
    ),
    Case(
        "a name that merkl does not have",
        "from merkl import tsak",
        "",
        """
        Merklfile.py raised ImportError: cannot import name 'tsak' from 'merkl' (/site-packages/merkl/__init__.py)
          at:
            Merklfile.py:9, in <module>
              from merkl import tsak
          hint: did you mean task?
        """,
    ),
    Case(
        "a name that was not imported",
        "table = read_future('table.csv')",
        "",
        """
        Merklfile.py raised NameError: name 'read_future' is not defined
          at:
            Merklfile.py:9, in <module>
              table = read_future('table.csv')
          hint: from merkl import read_future
        """,
    ),
    Case(
        "wrong syntax",
        """
        def broken(:
            pass
        """,
        "",
        """
        Merklfile.py:9: invalid syntax
          source:
            def broken(:
                       ^
        """,
    ),
    Case(
        "wrong syntax in an imported file",
        "import helper",
        "",
        """
        helper.py:1: '[' was never closed
          source:
            words = ['a', 'b'
                    ^
          at:
            Merklfile.py:9, in <module>
              import helper
        """,
        command="build -q",
        files={"helper.py": "words = ['a', 'b'\n"},
    ),
    Case(
        "a value that does not fit the hint",
        """
        @task
        def double(n: int) -> int:
            return 2 * n
        """,
        "double('4')",
        """
        double: the argument 'n' is '4', of type str, and its hint is int
          reason: str is not an instance of int
          at:
            Merklfile.py:16, in all
              return double('4')
          task: double, defined at Merklfile.py:9
          hint: pass what fits or change the hint; @task(check="off") looks at no hints
        """,
    ),
    Case(
        "a Future that does not fit the hint",
        """
        @task
        def shown(n: int) -> str:
            return str(n)
        """,
        "shown(shown(4))",
        """
        shown: the argument 'n' will be str, which shown gives, and its hint is int
          at:
            Merklfile.py:16, in all
              return shown(shown(4))
          task: shown, defined at Merklfile.py:9
          given: shown, called at Merklfile.py:16, defined at Merklfile.py:9
          hint: pass another Future or change one of the hints; @task(check="off") looks at no hints
        """,
    ),
    Case(
        "a result that does not fit the hint",
        """
        @task
        def double(n) -> int:
            return str(2 * n)
        """,
        "double(4)",
        """
        [1/1] failed double n=4  0.0s
          double returned '8', of type str, and its hint is int
            reason: str is not an instance of int
            defined: Merklfile.py:9
            task: double(n=4)
            at: Merklfile.py:16
            hint: return what fits or change the hint; @task(check="off") looks at no hints
        """,
        code=1,
    ),
    Case(
        "a pipeline whose hint does not fit",
        """
        @pipeline
        def scores(n: int):
            return one(n)
        """,
        "scores('3')",
        """
        scores: the argument 'n' is '3', of type str, and its hint is int
          reason: str is not an instance of int
          at:
            Merklfile.py:16, in all
              return scores('3')
          pipeline: scores, defined at Merklfile.py:9
          hint: pass what fits or change the hint
        """,
    ),
    Case(
        "outs that is no number",
        """
        @task(outs=0)
        def split(text):
            return text
        """,
        "",
        """
        split: outs=0 is no number of outputs
          at:
            Merklfile.py:9, in <module>
              @task(outs=0)
          hint: outs is 1 or more
        """,
    ),
    Case(
        "return statements that disagree",
        """
        @task
        def split(text):
            if text:
                return 1, 2
            return 1, 2, 3
        """,
        "split('a')",
        """
        split returns a tuple of 2 and a tuple of 3: its outputs cannot be told from its return statements
          at:
            Merklfile.py:9, in <module>
              @task
          hint: make them agree, or say what they are: @task(outs=1), @task(outs=2), @task(outs=['a', 'b'])
        """,
    ),
    Case(
        "an option that is true or false",
        """
        @task(eager="yes")
        def one(n):
            return n
        """,
        "one(1)",
        """
        eager is True or False, not 'yes'
          at:
            Merklfile.py:9, in <module>
              @task(eager="yes")
        """,
    ),
    Case(
        "another number of results",
        """
        @task(outs=2)
        def split(text):
            return text.split()
        """,
        "split('a b c')",
        """
        [1/1] failed split text='a b c'  0.0s
          split should return 2 values, and returned 3
            task: split(text='a b c')
            at: Merklfile.py:16
            hint: return a tuple of 2, or say otherwise: @task(outs=…)
        """,
        code=1,
    ),
    Case(
        "other names of results",
        """
        @task(outs=['low', 'high'])
        def ends(values):
            found = {'low': min(values), 'hihg': max(values)}
            return found
        """,
        "ends([1, 2])",
        """
        [1/1] failed ends  0.0s
          ends should return a dict of low, high, and returned a dict of low, hihg
            task: ends()
            at: Merklfile.py:17
            hint: return a dict with these names, or say otherwise: @task(outs=…)
        """,
        code=1,
    ),
    Case(
        "outs= takes other parameters",
        """
        @task(outs=lambda k: k)
        def parts(values, k):
            return values
        """,
        "",
        """
        parts: outs= takes (k), and the task takes (values, k)
          at:
            Merklfile.py:9, in <module>
              @task(outs=lambda k: k)
          hint: give it the parameters of the task, in the same order: outs=lambda data, k: k
        """,
    ),
    Case(
        "outs= returns a Future",
        """
        @task(outs=lambda values: values)
        def parts(values):
            return values
        """,
        "parts(one(2))",
        """
        parts: what outs= returned cannot be: a Future, which is no number before it has run
          at:
            Merklfile.py:16, in all
              return parts(one(2))
          hint: pass the task a plain value, or call .eval() on the Future
        """,
    ),
    Case(
        "several outputs at one place",
        """
        @task
        def ends(values):
            return min(values), max(values)
        """,
        "ends([1, 2]) > 'ends.json'",
        """
        the target all raised TypeError: '>' not supported between instances of 'tuple' and 'str'
          at:
            Merklfile.py:16, in all
              return ends([1, 2]) > 'ends.json'
          hint: a task with several outputs gives a tuple or a dict of Futures: take one of them, or place each by itself
        """,
    ),
    Case(
        "a place that is no path",
        "",
        "one(1) > 0",
        """
        `future > path` takes a path, not 0
          at:
            Merklfile.py:14, in all
              return one(1) > 0
          hint: > "name.json" places the value; to compare it, pass the Future to a task
        """,
    ),
    Case(
        "two places in one line",
        "",
        "one(1) > 'a.txt' > 'b.txt'",
        """
        <Future one 0123456789ab> has no truth value yet
          at:
            Merklfile.py:14, in all
              return one(1) > 'a.txt' > 'b.txt'
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now. To place it at two paths write two statements: f > "x" and then f > "y"
        """,
    ),
    Case(
        "two outputs at one place",
        """
        first = one(1) > 'a.txt'
        second = one(2) > 'a.txt'
        """,
        "[first, second]",
        """
        two outputs would be placed at a.txt
          one: one, placed at Merklfile.py:9
          other: one, placed at Merklfile.py:10
          hint: give one of them another path; only results of a @batch task make one file together
        """,
    ),
    Case(
        "a place outside the project",
        "",
        "one(1) > '/etc/merkl.txt'",
        """
        cannot place an output at '/etc/merkl.txt': it is outside the project
          at:
            Merklfile.py:14, in all
              return one(1) > '/etc/merkl.txt'
          hint: give a path inside the project
        """,
    ),
    Case(
        "an input that is not there",
        "",
        "one(file('tabel.csv'))",
        """
        the input tabel.csv does not exist
          at:
            Merklfile.py:14, in all
              return one(file('tabel.csv'))
          hint: did you mean table.csv?
        """,
        command="build -q",
        files={"table.csv": "1\n"},
    ),
    Case(
        "a batch of a Future",
        """
        @batch(one)
        def many(xs):
            return xs
        """,
        "many(one([1]))",
        """
        many was called with a Future, and how many items that has is not known before it has run
          at:
            Merklfile.py:16, in all
              return many(one([1]))
          hint: call it with a list of items, which may be Futures, or with future.eval()
        """,
    ),
    Case(
        "a batch returns too few",
        """
        @batch(one)
        def many(xs):
            return xs[1:]
        """,
        "many([1, 2])",
        """
        [2/2] failed many [2 items]  0.0s
          many should return a list of 2, one result for each item, and returned 1
            task: many(2 items)
            at: Merklfile.py:16
            hint: return them in the order of the items
        """,
        code=1,
    ),
    Case(
        "a batch with another parameter",
        """
        @task
        def scaled(x, factor=1):
            return x * factor

        @batch(scaled)
        def many(xs, facter=1):
            return xs
        """,
        "many([1])",
        """
        many takes facter, which scaled(x, factor=1) does not
          at:
            Merklfile.py:13, in <module>
              @batch(scaled)
          hint: did you mean factor?
        """,
    ),
    Case(
        "a batch of a function",
        """
        def plain(x):
            return x

        @batch(plain)
        def many(xs):
            return xs
        """,
        "many([1])",
        """
        @batch(single) takes a task, and plain is a plain function
          at:
            Merklfile.py:12, in <module>
              @batch(plain)
          hint: write @task above plain; a bare @batch needs no single task
        """,
    ),
    Case(
        "a batch with the options of its single task",
        """
        @batch(one, version='2')
        def many(xs):
            return xs
        """,
        "",
        """
        version= is for the single task to say: what one makes is the same, however it is run
          at:
            Merklfile.py:9, in <module>
              @batch(one, version='2')
          hint: give it to @task; @batch(single) takes deps, eager, nice, resources, retries, timeout
        """,
    ),
    Case(
        "items that are no tuples",
        """
        @task
        def add(a, b):
            return a + b

        @batch(add)
        def adds(pairs):
            return [a + b for a, b in pairs]
        """,
        "adds([1, 2])",
        """
        item 0 of adds is 1, and not a tuple of 2: a, b
          at:
            Merklfile.py:20, in all
              return adds([1, 2])
          hint: adds([(a, b), …])
        """,
    ),
    Case(
        "a pipeline yields a value",
        """
        @pipeline
        def scores():
            yield 3
            return one(1)
        """,
        "scores()",
        """
        the pipeline scores yields 3, and not a Future
          at:
            Merklfile.py:17, in all
              return scores()
          hint: yield what must have ended before what follows, and return the result
        """,
    ),
    Case(
        "a pipeline calls itself",
        """
        @pipeline
        def scores(n):
            return scores(n)
        """,
        "scores(1)",
        """
        the pipeline scores calls itself with the same arguments
          at:
            Merklfile.py:16, in all
              return scores(1)
            Merklfile.py:11, in scores
              return scores(n)
          hint: a pipeline can call itself only with other arguments, and not without end
        """,
    ),
    Case(
        "a pipeline has an option of tasks",
        """
        @pipeline(version='2')
        def scores():
            return one(1)
        """,
        "",
        """
        @pipeline has no option 'version'
          at:
            Merklfile.py:9, in <module>
              @pipeline(version='2')
          hint: it takes deps=[…] and cache=; others are options of @task
        """,
    ),
    Case(
        "a pipeline raises",
        """
        @pipeline
        def inner(n):
            return one(1 / n)

        @pipeline
        def outer(n):
            return inner(n)
        """,
        "outer(0)",
        """
        the target all raised ZeroDivisionError: division by zero
          at:
            Merklfile.py:20, in all
              return outer(0)
            Merklfile.py:15, in outer
              return inner(n)
            Merklfile.py:11, in inner
              return one(1 / n)
        """,
    ),
    Case(
        "map takes no number",
        "",
        "one.map(3)",
        """
        one.map takes a list, a dict, or the Future of one, and got 3
          at:
            Merklfile.py:14, in all
              return one.map(3)
          hint: one.map([item, …]); for one item, one(item)
        """,
    ),
    Case(
        "map over what is no list",
        "",
        "one.map(one(3))",
        """
        [2/3] failed items  0.0s
          a task is mapped over a Future whose value is of type int, which is no list
            task: items()
            at: Merklfile.py:14
            hint: let the task that makes it return a list, or for a dict declare it @task(outs=dict)
        """,
        code=1,
    ),
    Case(
        "an item that is not there",
        """
        @task
        def pages():
            yield 1
        """,
        "one(pages()[3])",
        """
        [2/2] failed one
          pages made 1 item, and none is '3'
            reader: one
            at: Merklfile.py:16
            hint: its only item is 0
        """,
        code=1,
    ),
    Case(
        "a generator of pairs yields something else",
        """
        @task(outs=dict)
        def pages():
            yield 1
        """,
        "pages()",
        """
        [1/1] failed pages  0.0s
          pages should yield pairs of a name and a value, and yielded 1
            task: pages()
            at: Merklfile.py:16
            hint: yield name, value
        """,
        code=1,
    ),
    Case(
        "merkl_open outside a task",
        """
        with merkl_open('w') as log:
            log.write('a')
        """,
        "",
        """
        merkl_open opens an output of a task, and no task is running here
          at:
            Merklfile.py:9, in <module>
              with merkl_open('w') as log:
          hint: call it in the task's function; future.open() reads a result
        """,
    ),
    Case(
        "merkl_open reads nothing",
        """
        @task
        def copy(path):
            with merkl_open('r') as made:
                return made
        """,
        "copy('a')",
        """
        [1/1] failed copy path='a'  0.0s
          merkl_open writes a new file, and 'r' is no mode for that
            at: Merklfile.py:11
            task: copy(path='a')
            hint: mode="wb" for bytes, "w" for text; future.open("rb") reads
        """,
        code=1,
    ),
    Case(
        "bytes for a file of text",
        """
        @task
        def made():
            with merkl_open('w') as file:
                file.write(b'a')
            return file
        """,
        "made()",
        """
        [1/1] failed made  0.0s
          merkl_open('w') takes text, and got bytes
            at: Merklfile.py:12
            task: made()
            hint: mode='wb' takes bytes
        """,
        code=1,
    ),
    Case(
        "a file that was not written",
        """
        @task
        def made():
            return FileRef('made.txt')
        """,
        "made()",
        """
        [1/1] failed made  0.0s
          made returned FileRef('made.txt'), and there is no such file
            task: made()
            at: Merklfile.py:16
            hint: write it before it is returned; a path is relative to the project's directory
        """,
        code=1,
    ),
    Case(
        "a file inside a list",
        """
        @task
        def made():
            ref = FileRef.get_new_file('made.txt')
            open(ref, 'w').close()
            return [ref]
        """,
        "made()",
        """
        [1/1] failed made  0.0s
          made returned FileRef('/project/.merkl/run/1-1/tmp/merkl-x/made.txt') inside another value, and its TMPDIR goes with the task
            task: made()
            at: Merklfile.py:18
            hint: return it as an output of its own, or put the files into one directory and return its DirRef
        """,
        code=1,
    ),
    Case(
        "a directory without that file",
        """
        @task
        def made() -> DirRef:
            return DirRef()
        """,
        "one(made()['part-0'])",
        """
        [2/2] failed one
          made made no file 'part-0'
            reader: one
            at: Merklfile.py:16
            hint: the directory that it made holds no files
        """,
        code=1,
    ),
    Case(
        "an option that there is not",
        """
        @task(vresion='1')
        def double(n):
            return 2 * n
        """,
        "",
        """
        @task has no option 'vresion'
          at:
            Merklfile.py:9, in <module>
              @task(vresion='1')
          hint: did you mean version?
        """,
    ),
    Case(
        "a dependency without an encoding",
        """
        import threading

        @task(deps=[threading.Lock()])
        def double(n):
            return 2 * n
        """,
        "double(2)",
        """
        double: deps[0] is a lock, which has no stable encoding
          at:
            Merklfile.py:18, in all
              return double(2)
          hint: functions, modules, classes, tasks, plain values, Futures and files can stand in deps=
        """,
    ),
    Case(
        "a package that is not installed",
        """
        @task(deps=[pip_version_of('nummpy')])
        def double(n):
            return 2 * n
        """,
        "double(2)",
        """
        pip_version_of('nummpy'): no distribution of that name is installed
          at:
            Merklfile.py:9, in <module>
              @task(deps=[pip_version_of('nummpy')])
          hint: install it into the environment of /bin/python
        """,
    ),
    Case(
        "another check",
        """
        @task(check='none')
        def double(n):
            return 2 * n
        """,
        "",
        """
        check is 'all', 'first' or 'off', not 'none'
          at:
            Merklfile.py:9, in <module>
              @task(check='none')
          hint: of a list, "first" looks at the first item
        """,
    ),
    Case(
        "an ignored argument that there is not",
        """
        @task(ignore_args=['verbos'])
        def double(n, verbose=False):
            return 2 * n
        """,
        "",
        """
        double: ignore_args names 'verbos', which is no parameter of double(n, verbose=False)
          at:
            Merklfile.py:9, in <module>
              @task(ignore_args=['verbos'])
          hint: did you mean verbose?
        """,
    ),
    Case(
        "a serializer that there is not",
        """
        @task(serializer='jsno')
        def double(n):
            return 2 * n
        """,
        "",
        """
        there is no serializer 'jsno'
          at:
            Merklfile.py:9, in <module>
              @task(serializer='jsno')
          hint: there are bytes, text, json, npy, parquet, pickle
        """,
    ),
    Case(
        "a serializer that does not take the value",
        """
        @task(serializer='npy')
        def double(n):
            return 2 * n
        """,
        "double(2)",
        """
        [1/1] failed double n=2  0.0s
          the serializer 'npy' does not take a value of type int as a result
            output: double
            task: double(n=2)
            at: Merklfile.py:16
            hint: name another serializer, or change the value
        """,
        code=1,
    ),
    Case(
        "one output kept together",
        """
        @task(together=True)
        def double(n):
            return 2 * n
        """,
        "double(2)",
        """
        double has one output, and together=True keeps many in one place
          at:
            Merklfile.py:16, in all
              return double(2)
          hint: say how many there are: outs=1000, or outs=[…]; or leave out together=True
        """,
    ),
    Case(
        "a timeout that is a text",
        """
        @task(timeout='1 min')
        def double(n):
            return 2 * n
        """,
        "",
        """
        timeout is a number of seconds above 0, not '1 min'
          at:
            Merklfile.py:9, in <module>
              @task(timeout='1 min')
          hint: timeout=60
        """,
    ),
    Case(
        "a resource that is a text",
        """
        @task(resources={'gpu': 'one'})
        def double(n):
            return 2 * n
        """,
        "",
        """
        resources: gpu is a whole number from 0 up, not 'one'
          at:
            Merklfile.py:9, in <module>
              @task(resources={'gpu': 'one'})
          hint: such as resources={"cpu": 2, "mem": "4 GB", "gpu": 1}
        """,
    ),
    Case(
        "a coroutine",
        """
        @task
        async def double(n):
            return 2 * n
        """,
        "double(2)",
        """
        double is a coroutine, which a task cannot be
          at:
            Merklfile.py:16, in all
              return double(2)
          hint: write `def`, and asyncio.run(…) in it
        """,
    ),
    Case(
        "a target that there is not",
        """
        @target
        def train():
            return one(1)
        """,
        "",
        """
        no target named 'trian'
          hint: did you mean train?
        """,
        command="build trian",
    ),
    Case(
        "a function that there is not",
        "",
        "",
        """
        no function 'trian' in steps
          hint: did you mean train?
        """,
        command="run steps.trian",
        files={"steps.py": "def train(n: int):\n    return n\n"},
    ),
    Case(
        "a word that does not fit",
        "",
        "",
        """
        steps.train: n takes a whole number, not 'four'
          declared: steps.py:1
        """,
        command="run steps.train four",
        files={"steps.py": "def train(n: int):\n    return n\n"},
    ),
    Case(
        "a secret that is not set",
        "",
        "one(Secret('MERKL_NO_SUCH_TOKEN'))",
        """
        one needs the secret MERKL_NO_SUCH_TOKEN, which is not in the environment
          at: Merklfile.py:14
          hint: export MERKL_NO_SUCH_TOKEN=…
        """,
        code=1,
    ),
    Case(
        "a secret used as a text",
        "",
        "one('Bearer ' + Secret('TOKEN'))",
        """
        the target all raised TypeError: can only concatenate str (not "Secret") to str
          at:
            Merklfile.py:14, in all
              return one('Bearer ' + Secret('TOKEN'))
          hint: the value of a Secret is known inside the task alone: pass the Secret by itself as an argument
        """,
    ),
    Case(
        "a stream that there is not",
        """
        @task(capture='stdin')
        def double(n):
            return 2 * n
        """,
        "",
        """
        capture= names 'stdin', which is no stream
          at:
            Merklfile.py:9, in <module>
              @task(capture='stdin')
          hint: capture=("stdout", "stderr"), or capture={"stdout": bytes}
        """,
    ),
    Case(
        "a cache that is a text",
        """
        @task(cache='no')
        def double(n):
            return 2 * n
        """,
        "",
        """
        cache is True, False, None or a cache, not 'no'
          at:
            Merklfile.py:9, in <module>
              @task(cache='no')
          hint: class MyCache(merkl.BaseCache), with get and add; docs/python.md has one
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_what_is_said_word_by_word(inside: Any, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merkl.store.serializers._latest", {})  # Those of other tests.
    before = set(sys.modules)
    inside.write("Merklfile.py", case.merklfile())
    for name, text in case.files.items():
        inside.write(name, text)

    done = inside.merkl(*case.command.split(), code=case.code)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(inside.path)):
            del sys.modules[name]

    said = normal(done.stdout + done.stderr, inside.path)
    assert said == textwrap.dedent(case.message).strip("\n")
    assert len(said.splitlines()) <= MOST_LINES
    assert OURS not in (done.stdout + done.stderr).replace(sys.executable, "").replace(
        f"({OURS}/__init__.py)", ""
    )


def test_the_seed_case_under_merkl_run(inside: Any) -> None:
    inside.write(
        "steps.py",
        "from merkl import pipeline, task\n\n\n@task\ndef one(x):\n    return x\n\n\n"
        "@pipeline\ndef inner(text):\n    return one(text, 2, 3)\n\n\n"
        "@pipeline\ndef outer():\n    return inner('to be')\n",
    )
    assert inside.merkl("run", "steps.outer", code=2).stderr == textwrap.dedent("""\
        one takes 1 argument, and got 3
          signature: one(x)
          passed: ('to be', 2, 3)
          defined: steps.py:4
          at:
            steps.py:16, in outer
              return inner('to be')
            steps.py:11, in inner
              return one(text, 2, 3)
    """)


# ---- scripts -------------------------------------------------------------------------------------------------------

SCRIPT = (
    "from merkl import pipeline, task\n@task\ndef one(x):\n    return 1 / x\n"
    "@pipeline\ndef inner(n):\n    {body}\n@pipeline\ndef outer(n):\n    return inner(n)\n"
)
IN_SCRIPT = [
    (
        "return one(n, 2, 3)",
        """
        merkl.errors.CallError: one takes 1 argument, and got 3
          signature: one(x)
          passed: (0, 2, 3)
          defined: script.py:2
          at: script.py:7
        """,
    ),
    (
        "return one(n).eval()",
        """
        merkl.errors.TaskFailed: one raised ZeroDivisionError: division by zero
          task: one(x=0)
          at: script.py:7
          traceback:
            Traceback (most recent call last):
              File "/project/script.py", line 4, in one
                return 1 / x
            ZeroDivisionError: division by zero
          log: .merkl/run/1-1/log
        """,
    ),
    (
        "return one(n) + 1",
        """
        merkl.errors.FutureAccessError: <Future one 0123456789ab> was used as if it were its value (+)
          made: script.py:7
          hint: a Future has no value before it has run: pass it to a task, or call .eval() to run it now
        """,
    ),
    ("return one(1 / n)", "ZeroDivisionError: division by zero"),
]


def uncaught(project: Any, text: str) -> str:
    """What ``python script.py`` says of the exception that ends it."""
    project.write("script.py", text)
    project.write(".merkl/keep", "")
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    return normal(ended.stderr, project.path)


@pytest.mark.parametrize(
    ("body", "message"), IN_SCRIPT, ids=lambda value: value if "return" in value[:7] else ""
)
def test_an_error_that_ends_a_script_shows_the_lines_of_the_script_alone(
    inside: Any, body: str, message: str
) -> None:
    said = uncaught(inside, SCRIPT.format(body=body) + "outer(0)\n")

    assert said == "\n".join([
        "Traceback (most recent call last):",
        '  File "/project/script.py", line 11, in <module>',
        "    outer(0)",
        '  File "/project/script.py", line 10, in outer',
        "    return inner(n)",
        '  File "/project/script.py", line 7, in inner',
        f"    {body}",
        textwrap.dedent(message).strip("\n"),
    ])  # fmt: skip


def test_an_error_that_ends_a_thread_shows_the_lines_of_the_script_alone(inside: Any) -> None:
    inside.write(
        "script.py",
        "import threading\nfrom merkl import task\n@task\ndef one(x):\n    return x\n"
        "thread = threading.Thread(target=lambda: one(1, 2))\nthread.start()\nthread.join()\n",
    )
    said = subprocess.run(
        [sys.executable, "script.py"], cwd=inside.path, capture_output=True, text=True
    ).stderr
    assert "script.py:6" in said and "CallError: one takes 1 argument, and got 2" in said
    assert OURS not in said


def test_a_bug_of_merkl_keeps_its_frames_in_a_script(project: Any) -> None:
    """As one would be that is in how a Future is shown."""
    said = uncaught(
        project,
        "from merkl import task\nimport merkl.nodes\nmerkl.nodes.Future.eval.__globals__['session'] = lambda: None\n"
        "@task\ndef one(x):\n    return x\nmerkl.nodes.Future(None).eval()\n",
    )

    assert '  File "/project/script.py", line 7, in <module>' in said
    assert '  File "/site-packages/merkl/nodes.py", line ' in said
    assert said.endswith("AttributeError: 'NoneType' object has no attribute 'evaluate'")


def test_a_hook_that_was_there_before_is_asked_too(inside: Any) -> None:
    said = uncaught(
        inside,
        "import sys\nsys.excepthook = lambda kind, error, trace: print('mine', error, file=sys.stderr)\n"
        "from merkl import task\n@task\ndef one(x):\n    return x\none()\n",
    )
    assert said.splitlines()[0] == "mine one needs 'x', which was not passed"
