"""The `seen` command: downloads, the jobs behind them, and a whole stack on one machine."""
