"""`python -m locustfiles.web ...`: Locust's own command with our locustfile, wherever it is
installed."""

import sys
from pathlib import Path

from locust.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["-f", str(Path(__file__).with_name("locustfile.py"))]
    main()
