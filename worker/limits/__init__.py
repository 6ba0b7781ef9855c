"""How many downloads run at once, and how fast: slots and rates that all workers share.

Open `slots.py` first.
"""
