"""The download worker, run in the test's process."""
