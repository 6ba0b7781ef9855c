"""Removes working files that no job needs, and corrects jobs whose part file is gone.

`sweeper.py` looks at the disk periodically, `job_files.py` removes the files of one job. Open
`sweeper.py` first.
"""
