"""Submit, control, history, and the periodic tasks."""
