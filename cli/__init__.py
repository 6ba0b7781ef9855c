"""The `seen` command: `commands/`, their `arguments/` and `output/`, `diagnostics/`, `local_stack/`.

Open `main.py` first.
"""
