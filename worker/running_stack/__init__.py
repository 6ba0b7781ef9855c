"""How a process finds and uses the local stack that runs on this machine.

Open `discovery.py` first. `cli/local_stack` starts and stops a stack.
"""
