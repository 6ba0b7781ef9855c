"""The HTTP API: FastAPI on uvicorn. Open `app.py` first; docs/api.md is for its callers.

It has only HTTP in it: what is done, and who may do it, is in `tasks` and `domain.access`.
"""

import seen_modules

seen_modules.claim(__name__)
