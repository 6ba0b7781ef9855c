"""How `seen get` follows its jobs: submit or continue them, show them until they end, pause them.

Open `follow.py` first.
"""
