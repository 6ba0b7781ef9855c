"""What must be true tomorrow: jobs, their states and their audit trail, in PostgreSQL or SQLite."""

from database.engine import Database
from database.jobs import JobRepository
from database.users import User, UserRepository

__all__ = ["Database", "JobRepository", "User", "UserRepository"]
