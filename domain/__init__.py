"""The vocabulary of the service: jobs, requests, their states and errors. It imports no other package.

Open `job.py` first, then `request.py` and `errors.py`.
"""

import seen_modules

seen_modules.claim(__name__)
