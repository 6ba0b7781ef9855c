"""Slots, rates and shares on a real store."""
