"""One golden case on CuPy, each array an allocation of its own, for NVIDIA's sanitizer to watch.

To be run as ``python -m evidence.sanitized CASE``, with the folder of the tests on the path.
"""

from __future__ import annotations

import json
import sys

import cupy
import golden

cupy.cuda.set_allocator(None)  # no pool: it would hide what lies beyond an array's end
case = sys.argv[1]
found = golden.run(case, "cupy")
print(case, found["weights_sha256"][-1])
sys.exit(found != json.loads(golden.FILE.read_text())[case])
