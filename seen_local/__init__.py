"""What all processes on this machine share: private files, locks, and the local stack that runs.

Open `discovery.py` first: it finds the stack. `cli/local_stack` starts and stops it.
"""

import seen_modules

seen_modules.claim(__name__)
