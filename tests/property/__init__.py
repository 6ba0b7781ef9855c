"""Properties and state machines, driven by Hypothesis."""
