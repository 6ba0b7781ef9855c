"""The HTTP origin that can misbehave, and a client to look at origins."""
