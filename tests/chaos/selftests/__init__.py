"""Tests of the chaos run's own parts."""
