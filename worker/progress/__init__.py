"""The progress of running downloads, on its way from the transfers to the store.

Open `reporter.py` first; `speed.py` smooths the speed that it sends.
"""
