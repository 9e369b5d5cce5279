"""Where paretokit keeps what can be made again: converted models, reference log-probabilities.

Nothing here is precious: the folder may be deleted at any time. Imports: the standard library and platformdirs.
"""

import os
from pathlib import Path

from platformdirs import user_cache_dir

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the cache folder: `$PARETOKIT_CACHE` if set, else the platform's place for caches. It may not exist yet.

    >>> cache_folder().is_absolute()
    True
    """
    named = os.environ.get("PARETOKIT_CACHE")
    return Path(named).expanduser().absolute() if named else Path(user_cache_dir("paretokit", appauthor=False))
