"""Wrong input: messages, control commands, arguments."""
