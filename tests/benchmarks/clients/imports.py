"""CPU time of an import in a fresh interpreter, the interpreter's own start not counted."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

_SCRIPT = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"


def main() -> None:
    asked = json.loads(sys.argv[1])
    command = [sys.executable, "-c", _SCRIPT.format(sys.argv[2])]
    with tempfile.TemporaryDirectory() as cache:
        # Byte code of everything, as an installed package has it, whatever this tree and this environment do about it.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        runs = [
            float(
                subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=environment).stdout
            )
            for _ in range(asked["count"] + 1)
        ][1:]
    print(
        json.dumps(
            {
                "value": statistics.median(runs) * 1e3,
                "cpu_s": sum(runs),
                "wall_s": 0,
                "events": len(runs),
                "finished": True,
            }
        )
    )


if __name__ == "__main__":
    main()
