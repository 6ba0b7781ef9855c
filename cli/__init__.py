"""The `seen` command: `commands/`, their `arguments/` and `output/`, `diagnostics/`, `local_stack/`.

Open `main.py` first.
"""

import seen_modules

seen_modules.claim(__name__)
