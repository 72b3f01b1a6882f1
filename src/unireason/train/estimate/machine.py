"""What a run is planned for: how fast a device multiplies, how much it holds, how fast it reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unireason.errors import FormatError


@dataclass(frozen=True, slots=True)
class Machine:
    """Some devices of one kind.

    Attributes:
        name: Its name.
        count: How many.
        teraflops: Dense matrix products of one device, 10^12 operations a second.
        gigabytes: Memory of one device, 10^9 bytes.
        bandwidth: Its memory bandwidth, 10^9 bytes a second.
        utilisation: Share of ``teraflops`` that training and prefill reach.
        reached: Share of ``bandwidth`` that decoding and optimiser steps reach.
        launch: Seconds that starting the kernels of one layer takes, which no token of a decoder can undercut.
    """

    name: str
    count: int
    teraflops: float
    gigabytes: float
    bandwidth: float
    utilisation: float = 0.4
    reached: float = 0.6
    launch: float = 5e-4

    @property
    def rate(self) -> float:
        """Operations a second of one device that are reached."""
        return self.teraflops * 1e12 * self.utilisation

    @property
    def flow(self) -> float:
        """Bytes a second of one device that are reached."""
        return self.bandwidth * 1e9 * self.reached


KNOWN: Mapping[str, Machine] = {
    "A100-80": Machine("A100-80", 1, 312, 85.9, 2039),
    "H100-80": Machine("H100-80", 1, 989, 85.9, 3350),
    "H200": Machine("H200", 1, 989, 151.4, 4800),
    "cpu-core": Machine("cpu-core", 1, 0.05, 8.0, 10, utilisation=1.0, reached=1.0, launch=1e-4),
}
"""Dense bfloat16 rates, memory (80 GiB, 80 GiB, 141 GiB) and bandwidth from the vendor's data sheets of the SXM cards. "cpu-core" is one
core of the machine on which the measurements of this project were made, by measured rates in float32."""


def machine(name: str, count: int, *, teraflops: float = 0.0, gigabytes: float = 0.0, bandwidth: float = 0.0) -> Machine:
    """A machine by name or by its rates.

    Args:
        name: One of ``KNOWN``, or any name if rates are given.
        count: Devices, from 1.
        teraflops: A measured rate of matrix products, taken as it is; 0 takes the known machine's.
        gigabytes: Memory of a device; 0 takes the known machine's.
        bandwidth: Measured bytes a second of a device, 10^9; 0 takes the known machine's, or as many as a tenth of the operations a second.

    Raises:
        FormatError: If the name is unknown and rate and memory are not both given, or a number makes no sense.
    """
    if count < 1 or min(teraflops, gigabytes, bandwidth) < 0:
        raise FormatError(f"{count} devices of {teraflops} TFLOPS, {gigabytes} GB, {bandwidth} GB/s", "numbers above 0")
    known = KNOWN.get(name)
    if known is None and not (teraflops and gigabytes):
        raise FormatError(f"the machine {name!r} is unknown", ", ".join(KNOWN), "or give --flops and --memory")
    base = known or Machine(name, count, teraflops, gigabytes, 100 * teraflops, launch=0.0)
    rates = {"utilisation": 1.0, "teraflops": teraflops} if teraflops else {}
    holds = {"gigabytes": gigabytes} if gigabytes else {}
    flows = {"reached": 1.0, "bandwidth": bandwidth} if bandwidth else {}
    return replace(base, name=name, count=count, **rates, **holds, **flows)
