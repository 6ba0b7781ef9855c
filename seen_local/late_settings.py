"""The module `settings`, imported when an attribute of it is used.

It takes a fifth of a second, and a help page, a completion script or a wrong argument needs no settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import settings as settings_module
else:

    class _Late:
        def __getattr__(self, name: str) -> Any:
            import settings

            return getattr(settings, name)

    settings_module = _Late()

__all__ = ["settings_module"]
