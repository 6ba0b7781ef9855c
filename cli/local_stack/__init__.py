"""The stack that `seen get` and `seen up` run on this machine.

Open `supervisor.py` first.
"""
