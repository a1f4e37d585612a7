"""Lets mmcv's setup.py find its version on Python 3.13 and newer.

That setup.py reads its version with ``exec`` and then ``locals()`` in one function.
Since Python 3.13 (PEP 667) ``exec`` works on a copy of the function's variables;
here it works on the variables themselves, as it did before.
"""

import builtins
import sys

python_exec = exec


def exec_in_caller(source, globals=None, locals=None, /, **options):
    caller = sys._getframe(1)
    if globals is None:
        globals, locals = caller.f_globals, caller.f_locals
    python_exec(source, globals, locals, **options)


builtins.exec = exec_in_caller
