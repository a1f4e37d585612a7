"""Lets mmcv's setup.py run on Python 3.13 and newer.

tools/setup_env.py puts this folder on PYTHONPATH while it compiles mmcv. That
setup.py reads its version with ``exec`` and then ``locals()`` in one function. Since
Python 3.13 (PEP 667) ``exec`` works on a copy of the function's variables, and the
version is not among them afterwards. Here ``exec`` works on the variables themselves.
"""

import builtins
import sys

python_exec = exec


def exec_in_caller(source, globals=None, locals=None, /, **options):
    """Do what ``exec`` does, and leave what it defines with the caller."""
    if globals is None:
        caller = sys._getframe(1)
        globals, locals = caller.f_globals, caller.f_locals
    python_exec(source, globals, locals, **options)


if sys.version_info >= (3, 13):
    builtins.exec = exec_in_caller
