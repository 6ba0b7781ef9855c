"""``python -m bench cache``: the cache beside other cache libraries, call by call.

`scenarios.py` lists what is measured, the ``*_libraries.py`` files how each library does it, and
`runner.py` measures. Open `main.py` first.
"""
