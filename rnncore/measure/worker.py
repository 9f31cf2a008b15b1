"""One runtime in a process of its own, that calls when it is asked: `python -m rnncore.measure.worker` of `interleaved`.

It reads one word per line and answers each with one line of JSON: `round` times some calls, `answer` writes the last
forecasts beside the inputs and says where they lie and what ran each node.
"""

import sys
import time
from contextlib import ExitStack
from pathlib import Path

from safetensors.numpy import load_file, save_file

from rnncore.errors import Unavailable
from rnncore.forecast.model import load_forecaster
from rnncore.measure.asked import answering, say
from rnncore.measure.stopwatch import seconds_per_call
from rnncore.runtimes.catalog import open_runtime, runtime_kind

FORECASTER, ONNX_FILE = "model.safetensors", "model.onnx"
INPUTS, OUTPUT = "inputs.safetensors", "output-{}.safetensors"

# The one array of such a file.
ARRAY = "array"

# Calls of a round take about this long together: the clock and the line that asks cost nothing then.
ROUND_S = 0.02


def main() -> None:
    """Open what the arguments name and do what the lines of standard input say, until they end."""
    folder, name, device, precision, threads, *modes = Path(sys.argv[1]), *sys.argv[2:]
    mode = modes[0] if modes else None
    with answering() as answers, ExitStack() as opened:
        began_s = time.perf_counter()
        reads = runtime_kind(name, mode).reads
        source = load_forecaster(folder / FORECASTER)[0] if reads == "forecaster" else folder / ONNX_FILE
        try:
            runtime = opened.enter_context(open_runtime(name, source, device, precision, int(threads), mode=mode))
            runtime.bind(load_file(folder / INPUTS)[ARRAY])
            runtime.run()
        except Unavailable as error:
            say(answers, unavailable=str(error))
            return
        first_call_s = time.perf_counter() - began_s
        evidence = runtime.evidence()
        calls = max(1, round(ROUND_S / seconds_per_call(runtime.run)))
        say(answers, first_call_s=first_call_s, kernel=evidence.kernel, calls=calls)
        for line in sys.stdin:
            if line.strip() == "round":
                # While others ran they had the caches too.
                runtime.run()
                say(answers, seconds=seconds_per_call(runtime.run, calls))
            else:
                output = folder / OUTPUT.format("-".join([name, *modes, precision]))
                save_file({ARRAY: runtime.output()}, output)
                say(answers, output=str(output), placement=evidence.placement)


if __name__ == "__main__":
    main()
