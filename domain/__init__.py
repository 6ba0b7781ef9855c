"""The vocabulary of the service: jobs, their states, and what can go wrong. Imports nothing of ours."""
