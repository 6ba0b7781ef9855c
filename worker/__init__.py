"""One download, from its message to its final state.

Open `runner.py` first: lock → claim → transfer → verify → publish the file → finish. `runtime.py` builds
what a process needs; `transfer/` moves the bytes, `celery_ext/` and `broker/` connect it to Celery.
"""

import seen_modules

seen_modules.claim(__name__)
