"""What was typed, checked before anything happens.

Open `download_request.py` first.
"""
