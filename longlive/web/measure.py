"""The former place of ``python -m longlive measure``; to be removed after the next release."""

import os
import sys

if __name__ == "__main__":
    sys.stderr.write("python -m longlive.web.measure is now python -m longlive measure.\n")
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "longlive", "measure", *sys.argv[1:]])
