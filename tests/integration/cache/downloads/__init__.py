"""Live progress of downloads."""
