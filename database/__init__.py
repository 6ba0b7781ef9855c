"""Jobs, their states and their histories, in PostgreSQL or SQLite: the source of truth.

Open `jobs.py` first, then `models.py`; `job_rows.py` has the statements.
"""

import seen_modules

seen_modules.claim(__name__)

from database.accounts import User, UserRepository
from database.engine import Database
from database.jobs import JobRepository

__all__ = ["Database", "JobRepository", "User", "UserRepository"]
