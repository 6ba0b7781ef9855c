"""Progress of jobs: live rows on a terminal, lines in a file or pipe, JSON objects for programs.

`frame.py` has what a terminal shows, as a pure function; `live_display.py` keeps it on the screen.
"""
