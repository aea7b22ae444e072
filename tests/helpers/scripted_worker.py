"""A worker of ``gptface prove`` that runs nothing and answers as its first argument says.

``pass``: everything passes. ``exit``: the process ends on the case named "bad". ``hang``: it never answers to that.
``dead``: it reports an error of the device there, after which nothing works.
"""

from __future__ import annotations

import json
import os
import sys
import time

from gptface.kernels.inventory import KERNELS

BAD = "bad"


def main() -> None:
    kind = sys.argv[1]
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"found": [[kernel, "everything", 0.5] for kernel in KERNELS], "error": "", "dead": False}
        if request["case"] == BAD:
            if kind == "exit":
                print("the last words", file=sys.stderr, flush=True)
                os._exit(3)
            if kind == "hang":
                time.sleep(600)
            if kind == "dead":
                answer = {"found": [], "error": "CUDA error: an illegal memory access", "dead": True}
        print(json.dumps(answer), flush=True)
        if answer["dead"]:
            return


if __name__ == "__main__":
    main()
