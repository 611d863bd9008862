"""Whether an address answers within seconds: `python tools/reachable.py URL` exits with 0 if it does."""

import sys
import urllib.request


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Ask for a page's head, and take any failure for a no."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return True
    except (OSError, ValueError):  # no route, no such host, too slow, 404; not an address at all
        return False


if __name__ == "__main__":
    sys.exit(not reachable(sys.argv[1]))
