"""The smoothed speed."""
