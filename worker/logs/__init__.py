"""What this process logs: records of one line without secrets, as lines or JSON (`setup`)."""
