"""Beat's scheduler and monitor, and Flower's log."""
