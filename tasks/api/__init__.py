"""The public Python API: submit jobs, control them, read them.

Open `submit.py` first; `control.py` changes jobs, `job_view.py` and `job_json.py` read them.
"""
