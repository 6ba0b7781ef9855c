"""What requests carry, and how answers look, for OpenAPI and for the checks of both."""
