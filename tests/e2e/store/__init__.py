"""Stores that refuse commands, lack rights, or hold another program's keys."""
