"""The local stack: all services of one machine, started by `seen get` and `seen up`.

Open `supervisor.py` first; `client.py` is how commands use a running stack.
"""
