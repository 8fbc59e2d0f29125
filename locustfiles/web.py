"""`python -m locustfiles.web ...` runs Locust's own command with the installed locustfile."""

import sys
from pathlib import Path

from locust.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["-f", str(Path(__file__).with_name("locustfile.py"))]
    main()
