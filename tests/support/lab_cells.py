"""What the browser tests run: the kernel and settings that the environment names, and the cell that makes a Studio."""

import os

from support.waits import LONG

COMMS = os.environ.get("PARETOKIT_TEST_COMMS", "perCommTarget")
DARK = os.environ.get("PARETOKIT_TEST_THEME", "light") == "dark"
KERNEL_PATH = os.environ.get("PARETOKIT_TEST_KERNEL_PATH", "")  # put first on the kernel's path: another ipykernel

PREPARE = f"""
import faulthandler, os, shutil, signal, ipywidgets, paretokit as pk
stacks = open("stacks.txt", "a")  # where the threads stand, for a test that fails
print("pid", os.getpid(), file=stacks, flush=True)
faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
import time
from pathlib import Path
import paretokit.view.studio
def until_released():
    end = time.monotonic() + {LONG}
    while not Path("released").exists() and time.monotonic() < end:
        time.sleep(0.02)
    Path("released").unlink()
config = pk.TrainConfig(steps=1, pairs_per_step=8, learning_rate=3e-3, max_length=160, threads=1)
policy, pairs = pk.load_policy("tiny"), pk.read_preferences("world:safety")
pk.train(policy.fork(seed=0), pairs, weights=[0.5, 0.5], config=config, store="prepared", progress=False)
import ipykernel
print("prepared on", ipykernel.__version__, "with", Path(ipykernel.__file__).parent.parent.name)
"""
LOAD = """
shutil.copytree("prepared/starts", "{store}/starts", dirs_exist_ok=True)  # the start is measured once
config = config.replace(steps={steps})
"""
STUDIO = "studio = pk.Studio(policy, pairs, store='{store}', config=config)\nstudio"
HELD = "until_released()\nprint('released')"  # a cell that runs until `release`
CLEAN = """
for name in ("studio", "other"):
    if name in globals():
        globals().pop(name).close()
ipywidgets.Widget.close_all()
print("cleaned")
"""
