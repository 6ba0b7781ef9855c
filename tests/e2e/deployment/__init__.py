"""Docker Compose and Flower."""
