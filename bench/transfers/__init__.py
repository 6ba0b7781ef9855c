"""``python -m bench transfer``: downloads beside curl, wget, aria2c and axel.

`loopback.py`, `limited.py` and `many.py` are its parts; `ours.py` and `peers.py` start the programs.
Open `main.py` first.
"""
